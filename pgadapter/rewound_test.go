package pgadapter

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// A caller speaks Socket.IO by hand to a server.
type caller struct {
	*transporttest.Client

	pid, offset string
}

func call(t *testing.T, io *socketio.Server, auth string) *caller {
	t.Helper()
	c := &caller{Client: transporttest.Dial(t, io, "/socket.io/?EIO=4&transport=websocket")}
	c.WriteText("0" + auth)
	var body struct{ PID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(c.ReadText(), "0")), &body); err != nil {
		t.Fatal(err)
	}
	c.pid = body.PID
	return c
}

// hear takes the next event, which has one argument.
func (c *caller) hear(t *testing.T) string {
	t.Helper()
	text := c.ReadText()
	var args []string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "2")), &args); err != nil || len(args) != 3 {
		t.Fatalf("%s: %v", text, err)
	}
	c.offset = args[2]
	return args[1]
}

// TestWhoLeavesAfterALostEndIsNotAheadOfIt: Postgres loses what came after a client's last event, and before anything new
// is in the log the client's line breaks. Its session must not be recorded as further than the log goes: it would then
// miss what the log has there later.
func TestWhoLeavesAfterALostEndIsNotAheadOfIt(t *testing.T) {
	t.Parallel()
	const said socketio.Event[string] = "said"
	b := newBench(t).named(t)
	db := b.open(t, &Options{PollInterval: 100 * time.Millisecond})
	io := socketio.NewServer(&socketio.Options{
		Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions()}, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	})
	emit := func(to socketio.Target, texts ...string) {
		for _, text := range texts {
			if err := said.Emit(t.Context(), to, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := call(t, io, "")
	emit(io, "1")
	c.hear(t)
	emit(io.To("nobody"), "lost", "lost", "lost", "lost", "lost")
	if err := db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, err := adapter.ParseOffset(c.offset)
	if err != nil {
		t.Fatal(err)
	}
	cut := batchID(held.Position) + 1
	b.exec(t, "begin")
	b.exec(t, "delete from log where id >= $1", cut)
	b.exec(t, "select setval('log_id_seq', $1, false)", cut)
	b.exec(t, "commit")
	b.terminate(t, "")
	eventually(t, "the node went back", func() bool { return db.tail.position() == held.Position })
	c.Cut()
	eventually(t, "the session was parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 1 })

	missed := []string{"2", "3", "4", "5", "6", "7", "8", "9"}
	emit(io, missed...)
	auth, err := json.Marshal(map[string]string{"pid": c.pid, "offset": c.offset})
	if err != nil {
		t.Fatal(err)
	}
	back := call(t, io, string(auth))
	if back.pid != c.pid {
		t.Fatal("not recovered")
	}
	emit(io, "end")
	for _, want := range append(missed, "end") {
		if got := back.hear(t); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	back.Cut()
}

// TestNobodyWaitsForANodeThatStopsInATransaction: a node is frozen between the two round trips of a claim, with its locks.
func TestNobodyWaitsForANodeThatStopsInATransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 2, nil)
	mustOpen(t, dbs[0], session("p1"))
	mustOpen(t, dbs[0], session("p2"))
	claim1 := &claim{Claim: recovery.Claim{PID: "p1", Namespace: "/"}}
	e := evidence{sessions: make(map[string]*recorded), batches: make(map[int64]mark)}
	frozen := b.connect(t)
	if err := frozen.SendBatch(t.Context(), e.questions(dbs[1].queries, dbs[1].node.hold(), []*claim{claim1})).Close(); err != nil {
		t.Fatal(err)
	}
	if tx := frozen.PgConn().TxStatus(); tx != 'T' || e.sessions["p1"] == nil {
		t.Fatalf("not in a transaction with the session: %c", tx)
	}
	for _, pid := range []string{"p1", "p2"} {
		if _, err := dbs[0].Sessions().Resume(t.Context(), recovery.Claim{PID: pid, Namespace: "/"}); err != nil {
			t.Errorf("%s: %v", pid, err)
		}
	}
	if _, err := frozen.Exec(t.Context(), "commit"); err == nil {
		t.Error("the transaction of the frozen node could still be committed")
	}
}
