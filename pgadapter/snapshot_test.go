package pgadapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// A look is the state that a reader saw, and its start position.
type look struct {
	state map[int]int
	start adapter.StartPosition
}

// TestSnapshot_StateThenEvents repeatedly reads a table and a snapshot token in one query
// while others write, and compares the log after the start position with the state: no
// gap, no duplicate. SOCKETIO_TEST_LOOKS sets the number of reads.
func TestSnapshot_StateThenEvents(t *testing.T) {
	t.Parallel()
	looks := 1000
	if n, err := strconv.Atoi(os.Getenv("SOCKETIO_TEST_LOOKS")); err == nil {
		looks = n
	}
	const writers, readers = 8, 4
	b := newBench(t)
	execOn(t, b.conn, "create table counters (id int primary key, n int not null)")
	for w := range writers {
		execOn(t, b.conn, fmt.Sprintf("insert into counters values (%d, 0)", w))
	}
	dbs, recorders := b.nodes(t, 3, &Options{})
	ctx, stop := context.WithCancel(t.Context())
	var writing, reading sync.WaitGroup
	final := make([]int, writers)
	for w := range writers {
		conn := b.connect(t)
		dice := rand.New(rand.NewPCG(uint64(w), 1))
		writing.Go(func() {
			for ctx.Err() == nil {
				sql := fmt.Sprintf("begin; update counters set n = n + 1 where id = %[1]d; savepoint s; select emit_all('no'); rollback to s; "+
					"select emit_all('n', args => jsonb_build_array(%[1]d, n)) from counters where id = %[1]d; select pg_sleep(%[2]f); ", w, dice.Float64()*0.01)
				commits := dice.IntN(4) > 0
				if commits {
					sql += "commit"
				} else {
					sql += "rollback"
				}
				if _, err := conn.Exec(context.Background(), sql); err != nil {
					t.Error(err)
					return
				}
				if commits {
					final[w]++
				}
			}
		})
	}
	var mu sync.Mutex
	var all []look
	for r := range readers {
		conn := b.connect(t)
		reading.Go(func() {
			for range looks / readers {
				var state []byte
				var token string
				if err := conn.QueryRow(ctx, "select json_object_agg(id, n)::text, snapshot_token() from counters").Scan(&state, &token); err != nil {
					t.Error(err)
					return
				}
				var l look
				err := json.Unmarshal(state, &l.state)
				if err == nil {
					l.start, err = dbs[r%len(dbs)].ResolveSnapshot(ctx, token)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, l)
				mu.Unlock()
			}
		})
	}
	reading.Wait()
	stop()
	writing.Wait()
	total := 0
	for _, n := range final {
		total += n
	}

	type event struct {
		at        adapter.Position
		writer, n int
	}
	var events []event
	for _, d := range recorders[0].Expect(t, total) {
		var e event
		if err := json.Unmarshal(d.Payload, &[]any{new(string), &e.writer, &e.n}); err != nil {
			t.Fatal(err)
		}
		e.at = d.Offset.Position
		events = append(events, e)
	}
	if len(events) != total {
		t.Fatalf("%d events of %d commits", len(events), total)
	}
	skipping := 0
	for _, l := range all {
		if len(l.start.Skip) > 0 {
			skipping++
		}
		for _, e := range events {
			if e.at <= l.start.After || within(l.start.Skip, e.at) {
				if e.n > l.state[e.writer] {
					t.Fatalf("gap: writer %d had %d in the state, and %d is not sent", e.writer, l.state[e.writer], e.n)
				}
			} else if e.n <= l.state[e.writer] {
				t.Fatalf("double: writer %d had %d in the state, and %d is sent", e.writer, l.state[e.writer], e.n)
			}
		}
	}
	t.Logf("%d looks, %d of them with events to leave out, %d events: no gap, no double", len(all), skipping, total)
	if skipping == 0 {
		t.Error("no read happened between a commit and its relay: the test shows nothing")
	}
}

func within(spans []adapter.Range, p adapter.Position) bool {
	for _, in := range spans {
		if in.First <= p && p <= in.Last {
			return true
		}
	}
	return false
}

// TestSnapshot_ConnectionsEnd: the server has closed the idle connections of the pool, as idle_session_timeout does.
func TestSnapshot_ConnectionsEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	db := b.open(t, &waits)
	var token string
	if err := b.conn.QueryRow(t.Context(), "select snapshot_token()").Scan(&token); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		b.terminate(t, "")
		if _, err := db.ResolveSnapshot(t.Context(), token); err != nil {
			t.Fatalf("resolve: %v", err)
		}
		b.terminate(t, "")
		if _, err := db.ClusterStats(t.Context()); err != nil {
			t.Fatalf("statistics: %v", err)
		}
	}
}

func TestSnapshot_Malformed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &waits)
	execOn(t, b.conn, "select emit_all('x')")
	b.relay(t)
	var good string
	if err := b.conn.QueryRow(t.Context(), "select snapshot_token()").Scan(&good); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ResolveSnapshot(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	f := strings.Split(good, ".")
	for name, text := range map[string]string{
		"empty": "", "words": "a.b.c.d.e", "another log": "1." + strings.Join(f[1:], "."), "long": good + strings.Repeat(",1", 20000),
		"ahead": strings.Join([]string{f[0], "999999999", f[2], f[3], f[4]}, "."), "another batch": strings.Join([]string{f[0], f[1], f[2], "5", f[4]}, "."),
		"no snapshot": strings.Join([]string{f[0], f[1], f[2], f[3], "5:4:"}, "."), "injection": strings.Join([]string{f[0], f[1], f[2], f[3], "1:1:'); drop"}, "."),
	} {
		if _, err := db.ResolveSnapshot(t.Context(), text); !errors.Is(err, adapter.ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.trim(t)
	if _, err := db.ResolveSnapshot(t.Context(), good); err != nil {
		t.Errorf("trimmed up to the token: %v", err)
	}
	execOn(t, b.conn, "select append(9, 1, 1, '\\x01ff00000000', false)")
	b.trim(t)
	if _, err := db.ResolveSnapshot(t.Context(), good); !errors.Is(err, adapter.ErrTrimmed) {
		t.Errorf("trimmed: %v", err)
	}
}
