package pgadapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// The tests of this file create orders of steps that integration/model found.

const said = socketio.Event[string]("said")

// serve starts a server on a node.
func serve(t *testing.T, db *DB) *socketio.Server {
	t.Helper()
	opts := &socketio.Options{Adapter: db}
	opts.Recovery.Store = db.Sessions()
	server := socketio.NewServer(opts)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = server.Shutdown(ctx) // after a failed test, clients may be left
	})
	return server
}

func say(t *testing.T, server *socketio.Server, text string) {
	t.Helper()
	if err := said.Emit(t.Context(), server, text); err != nil {
		t.Fatal(err)
	}
}

// A testClient is a client with the memory of the official client.
type testClient struct {
	*transporttest.Client

	pid, offset string
	recovered   bool
}

func (g *testClient) connect(t *testing.T, server *socketio.Server) {
	t.Helper()
	g.Client = transporttest.Dial(t, server, "/socket.io/?EIO=4&transport=websocket")
	auth := map[string]string{}
	if g.pid != "" {
		auth["pid"] = g.pid
	}
	if g.offset != "" {
		auth["offset"] = g.offset
	}
	body, err := json.Marshal(auth)
	if err != nil {
		t.Fatal(err)
	}
	g.WriteText("0" + string(body))
	var answer struct{ PID string }
	if text := g.ReadText(); !strings.HasPrefix(text, "0{") || json.Unmarshal([]byte(text[1:]), &answer) != nil {
		t.Fatalf("CONNECT answered with %q", text)
	}
	g.recovered, g.pid = g.pid == answer.PID, answer.PID
}

// next returns the text of the next event and stores its offset.
func (g *testClient) next(t *testing.T) string {
	t.Helper()
	var args []string
	if text := g.ReadText(); !strings.HasPrefix(text, "2[") || json.Unmarshal([]byte(text[1:]), &args) != nil || len(args) != 3 {
		t.Fatalf("event expected, got %q", text)
	}
	g.offset = args[2]
	return args[1]
}

func (g *testClient) wants(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if got := g.next(t); got != text {
			t.Fatalf("received %q, want %q", got, text)
		}
	}
}

// The connection of an idle client is lost together with an event. Before the release of
// the session is written, the node writes a checkpoint.
func TestCheckpoint_ReleasedSessions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, second := b.open(t, nil), b.open(t, nil)
	here, there := serve(t, first), serve(t, second)
	var g testClient
	g.connect(t, here)
	say(t, here, "1")
	g.wants(t, "1")
	for range 2 { // the first time the client is busy
		if err := first.sweeper.checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if b.int(t, "select count(*) from sessions where checkpointed and known and last = $1", g.offset) != 1 {
		t.Fatal("no checkpoint has the offset of the client")
	}

	// The release cannot be written for a while.
	slow, err := b.connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Exec(t.Context(), "select from sessions for update"); err != nil {
		t.Fatal(err)
	}
	lost := g.offset
	say(t, here, "2")
	g.wants(t, "2")
	g.Cut()
	eventually(t, "the node removed the socket", func() bool {
		return len(slices.Collect(here.Sockets())) == 0
	})
	written := make(chan error, 1)
	go func() { written <- first.sweeper.checkpoint(t.Context()) }()
	select { // gives a wrong checkpoint time to happen
	case err := <-written:
		written <- err
	case <-time.After(300 * time.Millisecond):
	}
	if err := slow.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session was parked", func() bool {
		return b.int(t, "select count(*) from sessions where node is null") == 1
	})

	g.offset = lost // the event did not reach the client
	g.connect(t, there)
	say(t, there, "3")
	if got := g.next(t); got != "2" {
		t.Errorf("a client that returns (recovered: %v) without event 2 receives %q", g.recovered, got)
	}
}

// A client with an offset from another node opens a session at a node that has not read
// the log so far, and receives the same event there.
func TestResume_OffsetIsNotTheInitialOne(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ahead := b.open(t, nil)
	behind := b.open(t, &Options{PollOnly: true, PollInterval: 2 * time.Second})
	here, there := serve(t, ahead), serve(t, behind)
	var g testClient
	g.connect(t, here)
	say(t, here, "1")
	g.wants(t, "1")
	for s := range here.Sockets() {
		if err := s.Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	g.connect(t, there) // as in an application whose clients return
	if g.recovered {
		t.Fatal("recovered a deleted session")
	}
	say(t, here, "2")
	texts := []string{g.next(t)}
	if texts[0] != "1" {
		t.Skip("the other node had already read the event")
	}
	g.Cut()
	g.connect(t, here)
	if !g.recovered {
		return // so the offset was not taken as received
	}
	texts = append(texts, g.next(t))
	if texts[1] != "2" {
		t.Errorf("in one session the client receives %q", texts)
	}
}

// An append commits, its answer is lost, and its publisher cannot reach Postgres for
// longer than the log keeps the batch.
func TestAppend_Retry_AfterTrim(t *testing.T) {
	t.Parallel()
	plain := newBench(t)
	b, w := plain.through(t)
	behindWire := b.open(t, &Options{Retention: 2 * time.Second})
	direct := plain.open(t, &Options{Retention: 10 * time.Second})
	adaptertest.Bound(t, behindWire)
	recorder, _ := adaptertest.Bound(t, direct)

	tx, err := plain.connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table append_lock in share update exclusive mode"); err != nil {
		t.Fatal(err)
	}
	receipt := adaptertest.Publish(t, behindWire, adaptertest.Event("once"))
	eventually(t, "the append waits for its lock", func() bool {
		return plain.int(t, "select count(*) from pg_locks where relation = 'append_lock'::regclass and not granted") == 1
	})
	w.sever(true)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	count := func(want int) func() bool {
		return func() bool { return len(recorder.Deliveries()) == want }
	}
	eventually(t, "the batch was appended", count(1))
	for range 3 {
		plain.exec(t, "update meta set slot_started = slot_started - interval '1 hour'")
		plain.exec(t, "select empty_slot('10 s')")
		plain.exec(t, "select switch_slot('10 s')")
	}
	plain.exec(t, "update meta set slot_started = slot_started - interval '1 hour'")
	plain.exec(t, "select empty_slot('10 s')")
	if n := plain.int(t, "select count(*) from log"); n != 0 {
		t.Fatalf("%d batches were not trimmed", n)
	}
	if err := receipt.Wait(t.Context()); !errors.Is(err, ErrUnanswered) {
		t.Errorf("an append with an unknown outcome ended with %v", err)
	}
	w.sever(false)
	adaptertest.Publish(t, direct, adaptertest.Event("then"))
	if err := behindWire.publisher.flushBarrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	adaptertest.Publish(t, direct, adaptertest.Event("end"))
	err = recorder.Await(t.Context(), func(ds []adapter.Delivery, _ []error) bool {
		return len(ds) > 0 && string(ds[len(ds)-1].Payload) == string(adaptertest.Event("end").Payload)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(adaptertest.Payloads(recorder.Deliveries())); strings.Count(got, "once") != 1 {
		t.Errorf("a batch was delivered twice: %s", got)
	}
}

// A session is opened, the answer is lost, and its node is declared dead before it retries.
func TestOpenSession_Retry_AfterPark(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 2, &Options{Lease: 5 * time.Second})
	s := session("p")
	mustOpen(t, dbs[0], s)
	b.declareDead(t, dbs[1], dbs[0].node.id.Load())
	if err := dbs[0].Sessions().Open(s).Wait(t.Context()); err == nil {
		t.Errorf("opened, and owned by no node: %d sessions are parked", b.int(t, "select count(*) from sessions where node is null"))
	}
}

// A client whose session is ended by the server reconnects at once.
func TestOnExpired_SessionIsGone(t *testing.T) {
	t.Parallel()
	// The function that ends the session calls slow first, and the end cannot be written until the test releases it.
	for name, c := range map[string]struct {
		end func(t *testing.T, server *socketio.Server, g *testClient, slow func() error)
		say string
	}{
		"disconnected": {endByDisconnect, "1"},
		"refused":      {endByMiddleware, `4{"message":`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			here, there := serve(t, b.open(t, nil)), serve(t, b.open(t, nil))
			lock := b.connect(t)
			slow := func() error {
				_, err := lock.Exec(t.Context(), "begin; select from sessions for update")
				return err
			}
			var g testClient
			g.connect(t, here)
			say(t, here, "1")
			g.wants(t, "1")
			c.end(t, here, &g, slow)
			eventually(t, "the end of the session waits", func() bool {
				return b.int(t, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and $1 = any(pg_blocking_pids(pid))", lock.PgConn().PID()) > 0
			})
			if n := g.Waiting(); n > 0 {
				t.Fatalf("the client is notified before the end is written: %q", g.ReadText())
			}
			execOn(t, lock, "commit")
			if text := g.ReadText(); !strings.HasPrefix(text, c.say) {
				t.Fatalf("the client receives %q", text)
			}
			g.connect(t, there)
			if g.recovered {
				t.Error("recovered a session that was ended")
			}
		})
	}
}

func endByDisconnect(t *testing.T, server *socketio.Server, _ *testClient, slow func() error) {
	t.Helper()
	if err := slow(); err != nil {
		t.Fatal(err)
	}
	for s := range server.Sockets() {
		go func() { // ends when the test releases the lock
			if err := s.Disconnect(t.Context()); err != nil {
				t.Errorf("Disconnect: %v", err)
			}
		}()
	}
}

func endByMiddleware(t *testing.T, server *socketio.Server, g *testClient, slow func() error) {
	t.Helper()
	server.Use(func(context.Context, *socketio.Socket) error {
		return errors.Join(slow(), &socketio.Error{Code: "banned"})
	})
	g.Cut()
	g.Client = transporttest.Dial(t, server, "/socket.io/?EIO=4&transport=websocket")
	g.WriteText(`0{"pid":"` + g.pid + `","offset":"` + g.offset + `"}`)
}

// A client disconnects and reconnects at once to the same node, while the node is slow to
// write the disconnect.
func TestRelease_BeforeTheNextClaim(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	here := serve(t, b.open(t, nil))
	var other, g testClient
	other.connect(t, here)
	g.connect(t, here)
	lock := b.connect(t)
	execOn(t, lock, "begin", "select from sessions where pid_hash = '"+recovery.HashPID(other.pid)+"' for update")
	other.Cut() // its release occupies the writer
	eventually(t, "the writer waits", func() bool {
		return b.int(t, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and $1 = any(pg_blocking_pids(pid))", lock.PgConn().PID()) > 0
	})
	g.WriteText("1")
	eventually(t, "the disconnect arrived", func() bool { return len(slices.Collect(here.Sockets())) == 0 })

	back := transporttest.Dial(t, here, "/socket.io/?EIO=4&transport=websocket")
	back.WriteText(`0{"pid":"` + g.pid + `"}`)
	for begun := time.Now(); back.Waiting() == 0 && time.Since(begun) < 300*time.Millisecond; { // gives a wrong answer time to arrive
		time.Sleep(time.Millisecond)
	}
	execOn(t, lock, "commit")
	if text := back.ReadText(); !strings.HasPrefix(text, "0{") || strings.Contains(text, g.pid) {
		t.Errorf("a client that disconnected receives %s", text)
	}
}
