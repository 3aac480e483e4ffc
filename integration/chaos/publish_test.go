package chaos_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
)

// aims are whom some events or operations are for.
func (f *fire) aims(roll *rand.Rand) []checker.Target {
	names := []string{
		"quarter-0", "quarter-1", "quarter-2", "quarter-3", "third-0", "third-1", "third-2",
		"flip-0", "flip-1", "flip-2", "moved-0", "moved-1",
	}
	some := func(n int) []string {
		var rooms []string
		for range n {
			rooms = append(rooms, names[roll.IntN(len(names))])
		}
		return rooms
	}
	var to []checker.Target
	for range 7 {
		switch roll.IntN(6) {
		case 0:
			if f.brief && roll.IntN(8) != 0 { // let some clients hear nothing for a while
				continue
			}
			to = append(to, checker.Target{Except: some(roll.IntN(2))})
		case 1:
			to = append(to, checker.Target{Rooms: []string{f.flock.anySocket(roll)}})
		case 2:
			to = append(to, checker.Target{Rooms: some(1 + roll.IntN(2)), Except: some(1)})
		default:
			to = append(to, checker.Target{Rooms: some(1 + roll.IntN(2))})
		}
	}
	return append(to, checker.Target{Rooms: some(1)})
}

// anyWell returns a node that nothing is done to.
func (f *fire) anyWell(roll *rand.Rand) *harness.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.well[roll.IntN(len(f.well))]
}

func (f *fire) publisher() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	return f.next
}

// publish emits from one goroutine of a node, then of another, and so on.
func (f *fire) publish(ctx context.Context, roll *rand.Rand) {
	for ctx.Err() == nil {
		n := f.anyWell(roll)
		n.Publish(f.t.Context(), f.book, harness.Publication{
			Publisher: f.publisher(), Count: 20 + roll.IntN(60), Targets: f.aims(roll), PerSecond: 40, Wait: roll.IntN(4) == 0,
		})
		harness.Pause(ctx, time.Duration(roll.IntN(100))*time.Millisecond)
	}
}

// bulk emits large events to a few clients, so that the queue of a slow one fills up.
func (f *fire) bulk(ctx context.Context, roll *rand.Rand) {
	for ctx.Err() == nil {
		f.anyWell(roll).Publish(f.t.Context(), f.book, harness.Publication{
			Publisher: f.publisher(), Count: 10, PerSecond: 15, Pad: 48 << 10, Targets: []checker.Target{{Rooms: []string{"bulk"}}},
		})
	}
}

// writeSQL emits in transactions, some of which are rolled back.
func (f *fire) writeSQL(ctx context.Context, roll *rand.Rand) {
	for ctx.Err() == nil {
		var events []checker.Emit
		commits := roll.IntN(4) > 0
		err := f.inSQL(ctx, func(tx pgx.Tx) error {
			publisher := f.publisher()
			to := f.aims(roll)
			for seq := range 1 + roll.IntN(3) {
				e := checker.Emit{ID: checker.Of(publisher, seq), To: to[seq%len(to)], Start: time.Now().UnixNano()}
				if commits {
					events = append(events, e)
				}
				_, err := tx.Exec(ctx, "select "+pgx.Identifier{f.cl.Schema}.Sanitize()+emitSQL(&e), e.To.Rooms, publisher, seq, e.To.Except)
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
			f.book.Emitted(e)
		}
		harness.Pause(ctx, time.Duration(20+roll.IntN(150))*time.Millisecond)
	}
}

func emitSQL(e *checker.Emit) string {
	if len(e.To.Rooms) == 0 {
		return ".emit_all('tick', args => jsonb_build_array($2::int, $3::int), except_rooms => $4), $1::text[]"
	}
	return ".emit_to($1, 'tick', args => jsonb_build_array($2::int, $3::int), except_rooms => $4)"
}

func (f *fire) inSQL(ctx context.Context, do func(tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, f.cl.DSN)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return pgx.BeginFunc(ctx, conn, do)
}
