//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
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

// TestChaos_LogTruncation: while events are emitted, and clients are cut and come back, the log loses its newest batches
// again and again, as when a standby is promoted that lacks them. What was lost is lost, and clients that know of it are
// refused. All others are recovered, and of what the log has in the end a session has everything from its beginning to
// its end, once, and in the log's order.
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
	l := &truncationRun{t: t, lost: make(map[checker.ID]bool)}
	l.cl = harness.NewClusterOn(t, dsn, schema, clusterSize)
	ctx, stop := context.WithCancel(t.Context())
	var lives, publishers sync.WaitGroup
	for range 30 {
		h := &truncationClient{run: l, rng: harness.NewRand(rng.Uint64())}
		h.Client = wire.New(wire.Options{Event: h.onEvent, Connected: h.onConnected})
		l.clients = append(l.clients, h)
		lives.Go(func() { h.loop(ctx) })
	}
	publishing, cease := context.WithCancel(t.Context())
	for i, n := range l.cl.Nodes {
		publishers.Go(func() {
			for first := 0; publishing.Err() == nil; first += 20 { // one that is sent again is in the log once
				n.Publish(t.Context(), &checker.History{}, harness.Publication{Publisher: 1 + i, First: first, Count: 20, PerSecond: 50})
			}
		})
	}
	for range harness.EnvInt(t, "SOCKETIO_CHAOS_TRUNCATIONS", 6) {
		harness.Pause(ctx, time.Duration(1000+rng.IntN(1000))*time.Millisecond)
		l.truncateLog(rng.IntN(40))
	}
	harness.Pause(ctx, time.Second)
	cease()
	publishers.Wait()
	l.awaitFence(rng)
	stop()
	lives.Wait()
	l.check()
}

type truncationRun struct {
	t       *testing.T
	cl      *harness.Cluster
	clients []*truncationClient
	lost    map[checker.ID]bool
}

// A truncationClient is a client that is cut every other moment. It notes what each of its sessions got.
type truncationClient struct {
	*wire.Client

	run *truncationRun
	rng *rand.Rand

	mu        sync.Mutex
	sessions  [][]checker.ID
	recovered int
}

func (h *truncationClient) loop(ctx context.Context) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := h.Connect(attempt, h.run.cl.Nodes[h.rng.IntN(clusterSize)].Addr)
		cancel()
		if err != nil {
			harness.Pause(ctx, 20*time.Millisecond)
			continue
		}
		harness.Pause(ctx, time.Duration(50+h.rng.IntN(800))*time.Millisecond)
		if ctx.Err() == nil {
			h.Cut()
		}
		harness.Pause(ctx, time.Duration(h.rng.IntN(2)*h.rng.IntN(300))*time.Millisecond)
	}
	h.Cut()
}

func (h *truncationClient) onConnected(_ string, recovered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if recovered {
		h.recovered++
		return
	}
	h.sessions = append(h.sessions, nil)
}

func (h *truncationClient) onEvent(data json.RawMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id, ok := harness.ParseTick(string(data)); ok {
		last := &h.sessions[len(h.sessions)-1]
		*last = append(*last, id)
	}
}

// truncateLog takes back the newest batches of the log; nobody's connection to Postgres outlives that. The sequence goes on
// where a standby would, so that positions come to name other events.
func (l *truncationRun) truncateLog(batches int) {
	l.t.Helper()
	conn := l.cl.Connect()
	schema := pgx.Identifier{l.cl.Schema}.Sanitize()
	var lost []checker.ID
	err := pgx.BeginFunc(l.t.Context(), conn, func(tx pgx.Tx) error {
		// Nobody appends meanwhile: it is the append lock.
		if _, err := tx.Exec(l.t.Context(), "lock table "+schema+".append_lock in share update exclusive mode"); err != nil {
			return err
		}
		rows, err := tx.Query(l.t.Context(), `
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
				lost = append(lost, id)
			}
		}
		_, err = tx.Exec(l.t.Context(), `
			with cut as (select min(id) as id from (select id from `+schema+`.log order by id desc limit `+strconv.Itoa(batches)+`) newest),
			gone as (delete from `+schema+`.log using cut where log.id >= cut.id returning log.id)
			select setval('`+schema+`.log_id_seq', (select min(id) from gone), false) where exists (select from gone)`)
		return err
	})
	if err != nil {
		l.t.Errorf("the log did not lose its end: %v", err)
		return
	}
	for _, id := range lost {
		l.lost[id] = true
	}
	if _, err := conn.Exec(l.t.Context(), `
		select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1 || '-%'`, l.cl.Schema); err != nil {
		l.t.Error(err)
	}
}

// awaitFence emits to everybody until all clients have got it.
func (l *truncationRun) awaitFence(rng *rand.Rand) {
	l.t.Helper()
	for seq := range 20 {
		fence := checker.NewID(harness.FencePublisher, seq)
		l.cl.Nodes[rng.IntN(clusterSize)].Publish(l.t.Context(), &checker.History{}, harness.Publication{Publisher: harness.FencePublisher, First: seq, Count: 1, Wait: true})
		if harness.Eventually(5*time.Second, func() bool {
			return !slices.ContainsFunc(l.clients, func(h *truncationClient) bool { return !h.received(fence) })
		}) {
			return
		}
	}
	l.t.Error("a client is not served any more")
}

func (h *truncationClient) received(id checker.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions) > 0 && slices.Contains(h.sessions[len(h.sessions)-1], id)
}

// check compares what each session got with the log, without what was lost on the way.
func (l *truncationRun) check() {
	l.t.Helper()
	order := l.logOrder()
	place := make(map[checker.ID]int, len(order))
	for i, id := range order {
		if _, again := place[id]; again {
			l.t.Errorf("the log has %v twice", id)
		}
		place[id] = i
	}
	sessions, recovered, receipts := 0, 0, 0
	for number, h := range l.clients {
		recovered += h.recovered
		for k, got := range h.sessions {
			sessions++
			receipts += len(got)
			if text := checkSession(got, order, place, l.lost); text != "" {
				l.t.Errorf("client %d, its session %d of %d: %s", number, k+1, len(h.sessions), text)
			}
		}
	}
	l.t.Logf("SUMMARY %s: %d events in the log, %d lost on the way, %d sessions of %d clients, %d recovered, %d receipts",
		l.t.Name(), len(order), len(l.lost), sessions, len(l.clients), recovered, receipts)
	if recovered < len(l.clients) {
		l.t.Error("hardly anybody was recovered")
	}
}

// checkSession says what is wrong with what a session got. What the log had, lost and has again may come at either place.
func checkSession(got, order []checker.ID, place map[checker.ID]int, lost map[checker.ID]bool) string {
	next := -1
	for i, id := range got {
		at, there := place[id]
		switch {
		case lost[id]:
			continue
		case !there:
			return "got " + id.String() + ", which the log has not"
		case next >= 0 && at < next:
			return "got " + id.String() + " twice, or too late"
		}
		for next >= 0 && next < at {
			if skipped := order[next]; !lost[skipped] {
				return "got " + id.String() + " without " + skipped.String() + " before it, receipt " + strconv.Itoa(i)
			}
			next++
		}
		next = at + 1
	}
	return ""
}

// logOrder returns the events that the log has.
func (l *truncationRun) logOrder() []checker.ID {
	l.t.Helper()
	schema := pgx.Identifier{l.cl.Schema}.Sanitize()
	rows, err := l.cl.Connect().Query(l.t.Context(), `
		select `+schema+`.name_text(p.payload) from `+schema+`.log l cross join lateral `+schema+`.frame_packets(l.frame) p
		where p.kind = 0 order by l.id, p.index`)
	if err != nil {
		l.t.Fatal(err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		l.t.Fatal(err)
	}
	var order []checker.ID
	for _, text := range texts {
		if id, ok := harness.ParseTick(text); ok {
			order = append(order, id)
		}
	}
	return order
}
