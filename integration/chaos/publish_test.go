package chaos_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// randomTargets returns targets of events or operations.
func (run *chaosRun) randomTargets(rng *rand.Rand) []checker.Target {
	names := []string{
		"quarter-0", "quarter-1", "quarter-2", "quarter-3", "third-0", "third-1", "third-2",
		"flip-0", "flip-1", "flip-2", "moved-0", "moved-1",
	}
	some := func(n int) []string {
		var rooms []string
		for range n {
			rooms = append(rooms, names[rng.IntN(len(names))])
		}
		return rooms
	}
	var to []checker.Target
	for range 7 {
		switch rng.IntN(6) {
		case 0:
			if run.brief && rng.IntN(8) != 0 { // so that some clients receive nothing for a while
				continue
			}
			to = append(to, checker.Target{Except: some(rng.IntN(2))})
		case 1:
			to = append(to, checker.Target{Rooms: []string{run.set.randomSocket(rng)}})
		case 2:
			to = append(to, checker.Target{Rooms: some(1 + rng.IntN(2)), Except: some(1)})
		default:
			to = append(to, checker.Target{Rooms: some(1 + rng.IntN(2))})
		}
	}
	return append(to, checker.Target{Rooms: some(1)})
}

// healthyNode returns a random node without a fault.
func (run *chaosRun) healthyNode(rng *rand.Rand) *harness.Node {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.healthy[rng.IntN(len(run.healthy))]
}

func (run *chaosRun) newPublisher() int {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.lastPublisher++
	return run.lastPublisher
}

// publish emits from one goroutine of a node at a time, each time from another node.
func (run *chaosRun) publish(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		n := run.healthyNode(rng)
		n.Publish(run.t.Context(), run.recorder, harness.Publication{
			Publisher: run.newPublisher(), Count: 20 + rng.IntN(60), Targets: run.randomTargets(rng), PerSecond: 40, Wait: rng.IntN(4) == 0,
		})
		harness.Pause(ctx, time.Duration(rng.IntN(100))*time.Millisecond)
	}
}

// publishThroughHandlers has clients request events from the handlers of a node, without waiting for one before the
// next. Each client serves for one publisher, and is at times cut before it has all answers.
func (run *chaosRun) publishThroughHandlers(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		c := wire.New(wire.Options{Connected: func(id string, _ bool) { run.asking.Store(id, true) }})
		connecting, cancel := context.WithTimeout(ctx, 4*time.Second)
		err := c.Connect(connecting, run.set.randomNode(rng))
		cancel()
		if err == nil {
			run.orderTicks(c, rng)
		}
		harness.Pause(ctx, time.Duration(rng.IntN(100))*time.Millisecond)
	}
}

// orderTicks requests some events over one connection, records their outcomes, and ends the connection.
func (run *chaosRun) orderTicks(c *wire.Client, rng *rand.Rand) {
	type ordered struct {
		checker.Emit

		request *wire.Request
	}
	publisher, to, emit := run.newPublisher(), run.randomTargets(rng), rng.IntN(3) == 0
	count := 20 + rng.IntN(60)
	cutAt := rng.IntN(4 * count)
	pending := make(chan ordered, count)
	var collector sync.WaitGroup
	collector.Go(func() {
		for e := range pending {
			waiting, cancel := context.WithTimeout(run.t.Context(), 30*time.Second)
			answer, err := e.request.Wait(waiting)
			cancel()
			if err == nil { // otherwise it may be in the log or not
				e.End = time.Now().UnixNano()
			}
			switch {
			case err != nil:
			case string(answer) == "[]":
				run.answers.Add(1)
			default:
				e.Err = string(answer)
			}
			run.recorder.Emitted(e.Emit)
		}
	})
	for seq := range count {
		if seq == cutAt {
			c.Cut()
		}
		e := checker.Emit{ID: checker.NewID(publisher, seq), To: to[seq%len(to)], Start: time.Now().UnixNano()}
		request, err := c.Ask("tick-me", map[string]any{
			"publisher": publisher, "seq": seq, "emit": emit, "target": map[string]any{"rooms": e.To.Rooms, "except": e.To.Except},
		})
		pending <- ordered{e, request}
		if err != nil {
			break
		}
		if seq%8 == 7 {
			harness.Pause(run.t.Context(), 50*time.Millisecond)
		}
	}
	close(pending)
	collector.Wait()
	c.Cut()
}

// publishLarge emits large events to a few clients, so that the queue of a slow one fills up.
func (run *chaosRun) publishLarge(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		run.healthyNode(rng).Publish(run.t.Context(), run.recorder, harness.Publication{
			Publisher: run.newPublisher(), Count: 10, PerSecond: 15, Pad: 48 << 10, Targets: []checker.Target{{Rooms: []string{"bulk"}}},
		})
	}
}

// publishSQL emits in transactions, some of which are rolled back.
func (run *chaosRun) publishSQL(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		var events []checker.Emit
		commits := rng.IntN(4) > 0
		err := run.inTransaction(ctx, func(tx pgx.Tx) error {
			publisher := run.newPublisher()
			to := run.randomTargets(rng)
			for seq := range 1 + rng.IntN(3) {
				e := checker.Emit{ID: checker.NewID(publisher, seq), To: to[seq%len(to)], Start: time.Now().UnixNano()}
				if commits {
					events = append(events, e)
				}
				_, err := tx.Exec(ctx, "select "+pgx.Identifier{run.cl.Schema}.Sanitize()+emitSQL(&e), e.To.Rooms, publisher, seq, e.To.Except)
				if err != nil {
					return err
				}
			}
			if !commits {
				return errors.New("rolled back")
			}
			return nil
		})
		end := time.Now().UnixNano()
		for _, e := range events {
			if err == nil {
				e.End = end
			}
			run.recorder.Emitted(e)
		}
		harness.Pause(ctx, time.Duration(20+rng.IntN(150))*time.Millisecond)
	}
}

func emitSQL(e *checker.Emit) string {
	if len(e.To.Rooms) == 0 {
		return ".emit_all('tick', args => jsonb_build_array($2::int, $3::int), except_rooms => $4), $1::text[]"
	}
	return ".emit_to($1, 'tick', args => jsonb_build_array($2::int, $3::int), except_rooms => $4)"
}

func (run *chaosRun) inTransaction(ctx context.Context, do func(tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, run.cl.DSN)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return pgx.BeginFunc(ctx, conn, do)
}
