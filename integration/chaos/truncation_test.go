//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package chaos_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// TestChaos_LogTruncation deletes the newest batches of the log again and again, while events are emitted and clients
// are cut and reconnect, like the promotion of a standby that lacks them. A client that received a deleted event is
// not recovered. All other clients are. Of the final log, a session has every event from its first to its last, once
// and in order.
func TestChaos_LogTruncation(t *testing.T) {
	rng := harness.NewRand(harness.Seed(t))
	pg, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	dsn, schema := pgtest.Schema(t, pgtest.On(pg.DSN()))
	run := &truncationRun{t: t, deleted: make(map[checker.ID]bool)}
	run.cl = harness.NewClusterOn(t, dsn, schema, clusterSize)
	ctx, stop := context.WithCancel(t.Context())
	var running, publishers sync.WaitGroup
	for range 30 {
		c := &truncationClient{run: run, rng: harness.NewRand(rng.Uint64())}
		c.Client = wire.New(wire.Options{Event: c.onEvent, Connected: c.onConnected})
		run.clients = append(run.clients, c)
		running.Go(func() { c.loop(ctx) })
	}
	publishing, stopPublishing := context.WithCancel(t.Context())
	for i, n := range run.cl.Nodes {
		publishers.Go(func() {
			for first := 0; publishing.Err() == nil; first += 20 { // an emit that is retried is in the log once
				n.Publish(t.Context(), &checker.History{}, harness.Publication{Publisher: 1 + i, First: first, Count: 20, PerSecond: 50})
			}
		})
	}
	for range harness.EnvInt(t, "SOCKETIO_CHAOS_TRUNCATIONS", 6) {
		harness.Pause(ctx, time.Duration(1000+rng.IntN(1000))*time.Millisecond)
		run.truncateLog(rng.IntN(40))
	}
	harness.Pause(ctx, time.Second)
	stopPublishing()
	publishers.Wait()
	run.awaitFence(rng)
	stop()
	running.Wait()
	run.check()
}

// A truncationRun is one run of TestChaos_LogTruncation.
type truncationRun struct {
	t       *testing.T
	cl      *harness.Cluster
	clients []*truncationClient
	deleted map[checker.ID]bool
}

// A truncationClient is cut again and again. It records what each of its sessions received.
type truncationClient struct {
	*wire.Client

	run *truncationRun
	rng *rand.Rand

	mu        sync.Mutex
	sessions  [][]checker.ID
	recovered int
}

func (c *truncationClient) loop(ctx context.Context) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := c.Connect(attempt, c.run.cl.Nodes[c.rng.IntN(clusterSize)].Addr)
		cancel()
		if err != nil {
			harness.Pause(ctx, 20*time.Millisecond)
			continue
		}
		harness.Pause(ctx, time.Duration(50+c.rng.IntN(800))*time.Millisecond)
		if ctx.Err() == nil {
			c.Cut()
		}
		harness.Pause(ctx, time.Duration(c.rng.IntN(2)*c.rng.IntN(300))*time.Millisecond)
	}
	c.Cut()
}

func (c *truncationClient) onConnected(_ string, recovered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if recovered {
		c.recovered++
		return
	}
	c.sessions = append(c.sessions, nil)
}

func (c *truncationClient) onEvent(data json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := harness.ParseTick(string(data)); ok {
		last := &c.sessions[len(c.sessions)-1]
		*last = append(*last, id)
	}
}

// truncateLog deletes the newest batches of the log, and terminates all connections. The sequence continues where
// that of a standby would, so positions come to name other events.
func (run *truncationRun) truncateLog(batches int) {
	run.t.Helper()
	conn := run.cl.Connect()
	schema := pgx.Identifier{run.cl.Schema}.Sanitize()
	var deleted []checker.ID
	err := pgx.BeginFunc(run.t.Context(), conn, func(tx pgx.Tx) error {
		// This is the append lock: no batch is appended meanwhile.
		if _, err := tx.Exec(run.t.Context(), "lock table "+schema+".append_lock in share update exclusive mode"); err != nil {
			return err
		}
		rows, err := tx.Query(run.t.Context(), `
			with cut as (select coalesce(min(id), 0) as id from (select id from `+schema+`.log order by id desc limit $1) newest)
			select `+schema+`.name_text(p.payload) from `+schema+`.log l cross join lateral `+schema+`.frame_packets(l.frame) p, cut
			where l.id >= cut.id and p.kind = 0`, batches)
		if err != nil {
			return err
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, text := range texts {
			if id, ok := harness.ParseTick(text); ok {
				deleted = append(deleted, id)
			}
		}
		_, err = tx.Exec(run.t.Context(), `
			with cut as (select min(id) as id from (select id from `+schema+`.log order by id desc limit `+strconv.Itoa(batches)+`) newest),
			gone as (delete from `+schema+`.log using cut where log.id >= cut.id returning log.id)
			select setval('`+schema+`.log_id_seq', (select min(id) from gone), false) where exists (select from gone)`)
		return err
	})
	if err != nil {
		run.t.Errorf("truncate the log: %v", err)
		return
	}
	for _, id := range deleted {
		run.deleted[id] = true
	}
	if _, err := conn.Exec(run.t.Context(), `
		select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1 || '-%'`, run.cl.Schema); err != nil {
		run.t.Error(err)
	}
}

// awaitFence emits the fence until all clients have received it.
func (run *truncationRun) awaitFence(rng *rand.Rand) {
	run.t.Helper()
	for seq := range 20 {
		fence := checker.NewID(harness.FencePublisher, seq)
		run.cl.Nodes[rng.IntN(clusterSize)].Publish(run.t.Context(), &checker.History{}, harness.Publication{Publisher: harness.FencePublisher, First: seq, Count: 1, Wait: true})
		if harness.Eventually(5*time.Second, func() bool {
			return !slices.ContainsFunc(run.clients, func(c *truncationClient) bool { return !c.received(fence) })
		}) {
			return
		}
	}
	run.t.Error("a client receives no events any more")
}

func (c *truncationClient) received(id checker.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sessions) > 0 && slices.Contains(c.sessions[len(c.sessions)-1], id)
}

// check compares what each session received with the log, without the deleted events.
func (run *truncationRun) check() {
	run.t.Helper()
	order := run.logOrder()
	positions := make(map[checker.ID]int, len(order))
	for i, id := range order {
		if _, again := positions[id]; again {
			run.t.Errorf("%v is in the log twice", id)
		}
		positions[id] = i
	}
	sessions, recovered, receipts := 0, 0, 0
	for number, c := range run.clients {
		recovered += c.recovered
		for k, got := range c.sessions {
			sessions++
			receipts += len(got)
			if text := checkSession(got, order, positions, run.deleted); text != "" {
				run.t.Errorf("client %d, session %d of %d: %s", number, k+1, len(c.sessions), text)
			}
		}
	}
	run.t.Logf("SUMMARY %s: %d events in the log, %d deleted, %d sessions of %d clients, %d recovered, %d receipts",
		run.t.Name(), len(order), len(run.deleted), sessions, len(run.clients), recovered, receipts)
	if recovered < len(run.clients) {
		run.t.Error("fewer recoveries than clients")
	}
}

// checkSession returns what is wrong with the events of a session. An event that was deleted and appended again may
// come at either position.
func checkSession(got, order []checker.ID, positions map[checker.ID]int, deleted map[checker.ID]bool) string {
	next := -1
	for i, id := range got {
		at, there := positions[id]
		switch {
		case deleted[id]:
			continue
		case !there:
			return "got " + id.String() + ", which is not in the log"
		case next >= 0 && at < next:
			return "got " + id.String() + " twice, or out of order"
		}
		for next >= 0 && next < at {
			if skipped := order[next]; !deleted[skipped] {
				return "got " + id.String() + " without " + skipped.String() + " before it, receipt " + strconv.Itoa(i)
			}
			next++
		}
		next = at + 1
	}
	return ""
}

// logOrder returns the events in the log.
func (run *truncationRun) logOrder() []checker.ID {
	run.t.Helper()
	schema := pgx.Identifier{run.cl.Schema}.Sanitize()
	rows, err := run.cl.Connect().Query(run.t.Context(), `
		select `+schema+`.name_text(p.payload) from `+schema+`.log l cross join lateral `+schema+`.frame_packets(l.frame) p
		where p.kind = 0 order by l.id, p.index`)
	if err != nil {
		run.t.Fatal(err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		run.t.Fatal(err)
	}
	var order []checker.ID
	for _, text := range texts {
		if id, ok := harness.ParseTick(text); ok {
			order = append(order, id)
		}
	}
	return order
}
