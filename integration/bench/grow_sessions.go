package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/recovery"
)

// growSessions measures what more and more parked sessions cost the connected clients.
func growSessions() curve {
	return curve{
		name: "sessions", grows: "sessions parked", sizes: []int{100, 1000, 10_000, 100_000, 500_000},
		panels: []panel{
			{"clients", "3,000 clients, 256 at a time", "µs per client", "parked sessions cost nothing"},
			{"publish", "an event for one client", "µs until it is there", "parked sessions cost nothing"},
			{"maintenance", "maintenance", "ms for 1,000 sessions", "the others cost nothing"},
			{"size", "tables and indexes", "bytes per session parked", "linear: the same for each session"},
		},
		all: parkMore,
	}
}

const userData = socketio.Data[string]("user")

func parkMore(ctx context.Context, m *machine, sizes []int, add func(size int) adder) error {
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, conn *pgx.Conn) error {
		n := nodes[0]
		n.io.OnConnect(func(ctx context.Context, s *socketio.Socket) error {
			if s.Recovered() {
				return nil
			}
			return errors.Join(s.Join(ctx, "room", "news"), userData.Set(ctx, s, "value"))
		})
		l := n.memoryListener()
		pattern, err := parkPattern(ctx, n, l, conn)
		if err != nil {
			return err
		}
		had := 1
		for _, size := range sizes {
			if err := park(ctx, conn, pattern, had, size); err != nil {
				return fmt.Errorf("park: %w", err)
			}
			had = size
			if err := measureSize(ctx, conn, size, add(size)); err != nil {
				return err
			}
			if err := measureWithParked(ctx, n, l, conn, add(size)); err != nil {
				return fmt.Errorf("%d: %w", size, err)
			}
		}
		return nil
	})
}

// parkPattern connects a client, cuts it, and returns the hash of the private id of its session when that is parked.
func parkPattern(ctx context.Context, n *node, l *memoryListener, conn *pgx.Conn) (string, error) {
	one, err := l.connect(ctx, 1, 1, func(int) []byte { return script("40") })
	if err != nil {
		return "", err
	}
	if _, _, err := frameSize(ctx, l.meter, func() (int, error) { return 1, said.Emit(ctx, n.io, text) }); err != nil {
		return "", err
	}
	closeAll(one)
	return recovery.HashPID(one[0].pid), awaitParked(ctx, conn)
}

// awaitParked waits until no node owns a session.
func awaitParked(ctx context.Context, conn *pgx.Conn) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var held bool
		if err := conn.QueryRow(ctx, "select exists (select from sessions where node is not null)").Scan(&held); err != nil || !held {
			return err
		}
	}
	return errors.New("sessions were not parked")
}

// park copies a parked session, with its rooms and its data, until there are size of them.
func park(ctx context.Context, conn *pgx.Conn, pattern string, had, size int) error {
	if _, err := conn.Exec(ctx, "create temp table fresh (pid_hash text collate \"C\", sid text)"); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, `insert into fresh select text, reverse(text) from (
		select translate(left(encode(sha256(convert_to(i::text, 'UTF8')), 'base64'), length($1)), '+/', '-_') from generate_series($2::int, $3) i) t (text)`,
		pattern, had+1, size)
	if err != nil {
		return err
	}
	for _, table := range []string{"sessions", "session_rooms", "session_data"} {
		var columns, values string
		err := conn.QueryRow(ctx, `select string_agg(c, ', ' order by i), string_agg(case c when 'pid_hash' then 'f.pid_hash' when 'sid' then 'f.sid'
			when 'expires_at' then 'now() + interval ''1 hour''' else 't.' || c end, ', ' order by i)
			from (select quote_ident(column_name), ordinal_position from information_schema.columns
			where table_schema = current_schema and table_name = $1) columns (c, i)`, table).Scan(&columns, &values)
		if err != nil {
			return err
		}
		copies := fmt.Sprintf("insert into %s (%s) select %s from %[1]s t, fresh f where t.pid_hash = $1", table, columns, values)
		if _, err := conn.Exec(ctx, copies, pattern); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "vacuum analyze "+table); err != nil {
			return err
		}
	}
	_, err = conn.Exec(ctx, "drop table fresh")
	return err
}

func measureSize(ctx context.Context, conn *pgx.Conn, size int, add adder) error {
	var bytes float64
	err := conn.QueryRow(ctx, `select sum(pg_total_relation_size(name::regclass))::float8
		from unnest(array['sessions', 'session_rooms', 'session_data']) name`).Scan(&bytes)
	add("size", "a session of two rooms and one datum", bytes/float64(size))
	return err
}

// measureWithParked measures clients that connect and reconnect, events, and maintenance.
func measureWithParked(ctx context.Context, n *node, l *memoryListener, conn *pgx.Conn, add adder) error {
	const clients = 3000
	began := time.Now()
	came, err := l.connect(ctx, clients, 256, func(int) []byte { return script("40") })
	if err != nil {
		return err
	}
	add("clients", "connect", micros(time.Since(began))/clients)
	if err := oneEvent(ctx, n, l, add); err != nil {
		return err
	}
	if err := maintenance(ctx, conn, came[:1000], add); err != nil {
		return err
	}
	closeAll(came)
	if err := awaitParked(ctx, conn); err != nil {
		return err
	}
	began = time.Now()
	back, err := l.connect(ctx, clients, 256, func(i int) []byte { return script(fmt.Sprintf(`40{"pid":%q}`, came[i].pid)) })
	if err != nil {
		return err
	}
	add("clients", "come back", micros(time.Since(began))/clients)
	hashes := make([]string, clients)
	for i := range back {
		if back[i].pid != came[i].pid {
			return errors.New("a client was not recovered")
		}
		hashes[i] = recovery.HashPID(back[i].pid)
	}
	closeAll(back)
	if err := awaitParked(ctx, conn); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "delete from sessions where pid_hash = any($1)", hashes)
	return err
}

// oneEvent measures events for one client.
func oneEvent(ctx context.Context, n *node, l *memoryListener, add adder) error {
	one, err := l.connect(ctx, 1, 1, func(int) []byte { return script("40") })
	if err != nil {
		return err
	}
	var id socketio.SocketID
	for s := range n.io.Sockets() {
		id = s.ID() // any will do
	}
	to := n.io.To(socketio.Room(id))
	frame, received, err := frameSize(ctx, l.meter, func() (int, error) { return 1, said.Emit(ctx, to, text) })
	if err != nil {
		return err
	}
	_, elapsed, err := each(500, func(int) error {
		if err := said.Emit(ctx, to, text); err != nil {
			return err
		}
		received += frame
		_, err := l.meter.await(ctx, received)
		return err
	})
	closeAll(one)
	add("publish", "p50", elapsed)
	return err
}

// maintenance measures the statements with which a node removes expired sessions and writes checkpoints. It rolls
// them back.
func maintenance(ctx context.Context, conn *pgx.Conn, clients []*memoryClient, add adder) error {
	hashes := make([]string, len(clients))
	for i := range clients {
		hashes[i] = recovery.HashPID(clients[i].pid)
	}
	timed := func(line, file, before string, args ...any) error {
		statement, err := os.ReadFile("../pgadapter/sql/" + file + ".sql") // relative to the integration module
		if err != nil {
			return err
		}
		ms, err := typical(3, func() (float64, error) {
			tx, err := conn.Begin(ctx)
			if err != nil {
				return 0, err
			}
			defer func() { _ = tx.Rollback(ctx) }() // the next statement fails on a broken connection
			if _, err := tx.Exec(ctx, before, hashes); err != nil {
				return 0, err
			}
			began := time.Now()
			tag, err := tx.Exec(ctx, strings.ReplaceAll(string(statement), "/*schema.*/", ""), args...)
			if err == nil && tag.RowsAffected() != int64(len(hashes)) {
				err = fmt.Errorf("%s: %d rows rather than %d", file, tag.RowsAffected(), len(hashes))
			}
			return micros(time.Since(began)) / 1e3, err
		})
		add("maintenance", line, ms)
		return err
	}
	var node int64
	var held, last []string // in an order of their own
	var epochs []int64
	var known []bool
	err := conn.QueryRow(ctx, `select node, array_agg(pid_hash), array_agg(epoch), array_agg(true), array_agg(last)
		from sessions where pid_hash = any($1) group by node`, hashes).Scan(&node, &held, &epochs, &known, &last)
	if err != nil {
		return err
	}
	if err := timed("checkpoint", "checkpoint_sessions", "select $1::text[]", node, int64(1), held, epochs, known, last); err != nil {
		return err
	}
	return timed("end those that are over", "sweep_expired",
		"update sessions set node = null, expires_at = now() - interval '1 minute' where pid_hash = any($1)")
}
