package pgadapter

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// lostAndRepeated removes the batches from id on, and waits until the nodes have noticed. Repeat appends them again, as
// publishers do that had no answer, and waits until the nodes have delivered them.
func (b *bench) lostAndRepeated(t *testing.T, id int64, dbs ...*DB) (repeat func()) {
	t.Helper()
	b.exec(t, "create table kept as select id, origin, seq, packets, frame from log where id >= $1", id)
	kept := b.int(t, "select max(id) from log where id < $1", id)
	b.loseFrom(t, id)
	for _, db := range dbs {
		eventually(t, "a node has noticed the loss", func() bool { return batchID(db.tail.position()) == kept })
	}
	return func() {
		t.Helper()
		b.exec(t, "do $$ declare k record; begin for k in select * from kept order by id loop perform append(k.origin, k.seq, k.packets, k.frame, true); end loop; end $$")
		head := b.int(t, "select max(id) from log")
		for _, db := range dbs {
			eventually(t, "a node has delivered the repetition", func() bool { return batchID(db.tail.position()) >= head })
		}
	}
}

func (b *bench) head(t *testing.T) int64 {
	t.Helper()
	return b.int(t, "select max(id) from log")
}

const told socketio.ServerEvent[string] = "told"

// TestServerEvent_Repeated_HandledOnce: the log has server-side events again that a node has handled, is handling, and has
// not come to.
func TestServerEvent_Repeated_HandledOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	opts := &Options{PollInterval: 20 * time.Millisecond}
	dbs := []*DB{b.open(t, opts), b.open(t, opts)}
	from, to := serve(t, dbs[0]), serve(t, dbs[1])
	handled, next := make(chan string, 10), make(chan struct{}, 10)
	told.On(to.Namespace, func(_ context.Context, _, v string) error {
		handled <- v
		<-next
		return nil
	})
	tell := func(v string) {
		t.Helper()
		if err := told.Emit(t.Context(), from, v); err != nil {
			t.Fatal(err)
		}
	}
	say(t, from, "kept")
	kept := b.head(t)
	wants := func(want string) {
		t.Helper()
		select {
		case got := <-handled:
			if got != want {
				t.Fatalf("handled %q, want %q", got, want)
			}
		case <-soon(t).Done():
			t.Fatalf("%q is not handled", want)
		}
	}
	tell("handled")
	wants("handled")
	next <- struct{}{}
	tell("being handled")
	wants("being handled")
	tell("waits")
	if err := dbs[0].WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node has read it", func() bool { return dbs[1].tail.position() == dbs[0].tail.position() })

	b.lostAndRepeated(t, kept+1, dbs...)()
	tell("end")
	close(next)
	wants("waits")
	wants("end")
}

// TestServerRequest_AnswersRepeated_TakenOnce: the log loses two answers, of which the caller has taken one, and has them
// again.
func TestServerRequest_AnswersRepeated_TakenOnce(t *testing.T) {
	t.Parallel()
	const ask socketio.ServerRequest[string, string] = "ask"
	b := newBench(t).named(t)
	opts := &Options{PollInterval: 20 * time.Millisecond}
	dbs := []*DB{b.open(t, opts), b.open(t, opts), b.open(t, opts)}
	caller, first, second := serve(t, dbs[0]), serve(t, dbs[1]), serve(t, dbs[2])
	asked := make(chan struct{}, 2)
	ask.On(first.Namespace, func(context.Context, string, string) (string, error) { asked <- struct{}{}; return "first", nil })
	mayAnswer := make(chan struct{})
	ask.On(second.Namespace, func(context.Context, string, string) (string, error) {
		asked <- struct{}{}
		<-mayAnswer
		return "second", nil
	})
	var got []string
	for r, err := range ask.Call(soon(t), caller.Namespace, "?") {
		got = append(got, fmt.Sprint(r.Value, " ", err))
		if r.Value != "first" || len(got) > 1 {
			continue
		}
		<-asked
		<-asked
		answer := b.head(t)
		close(mayAnswer)
		eventually(t, "the second answer is read", func() bool { return batchID(dbs[0].tail.position()) > answer })
		b.lostAndRepeated(t, answer, dbs...)()
	}
	if !slices.Equal(got, []string{"first <nil>", "second <nil>"}) {
		t.Errorf("answers %q", got)
	}
}

// TestReplay_EventRepeated_NotTwice: the log loses an event that a client has received, and has it again after others. The
// client must not get it twice when it returns.
func TestReplay_EventRepeated_NotTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	db := b.open(t, &Options{PollInterval: 20 * time.Millisecond})
	server := serve(t, db)
	var g, unaffected testClient
	g.connect(t, server)
	say(t, server, "kept")
	g.wants(t, "kept")
	unaffected.connect(t, server)
	say(t, server, "x")
	g.wants(t, "x")
	unaffected.wants(t, "x")
	unaffected.Cut()
	eventually(t, "a session is parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 1 })
	unaffected.offset = "" // as if x had not arrived

	repeat := b.lostAndRepeated(t, b.head(t), db)
	say(t, server, "between")
	g.wants(t, "between")
	repeat()
	g.Cut()
	eventually(t, "the socket is gone", func() bool { return server.Stats().Sockets == 0 })
	g.connect(t, server)
	if g.recovered {
		t.Error("recovered: nothing says whether the client has x")
	}
	unaffected.connect(t, server)
	if !unaffected.recovered {
		t.Error("the client that was away is not recovered")
	}
	say(t, server, "end")
	g.wants(t, "end")
	unaffected.wants(t, "between", "x", "end")
}

// TestOperation_Repeated_StoredAgain: Postgres loses an operation and what it changed in the rooms of a session, and the log
// has the operation again. The client returns with the rooms that its socket had.
func TestOperation_Repeated_StoredAgain(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]bool{"Join": false, "Leave": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t).named(t)
			db := b.open(t, &Options{PollInterval: 20 * time.Millisecond})
			server := serve(t, db)
			var g testClient
			g.connect(t, server)
			operate := server.Except().Join
			if leave {
				operate = server.Except().Leave
				if err := server.Except().Join(t.Context(), "r"); err != nil {
					t.Fatal(err)
				}
			}
			say(t, server, "kept")
			g.wants(t, "kept")
			if err := operate(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
			const in = "select count(*) from session_rooms where room = 'r' and left_at is null"
			stored := func() bool { return (b.int(t, in) == 0) == leave }
			eventually(t, "it is stored", stored)
			lost := b.head(t)
			if leave {
				b.exec(t, "update session_rooms set left_at = null")
			} else {
				b.exec(t, "delete from session_rooms")
			}
			b.lostAndRepeated(t, lost, db)()
			eventually(t, "it is stored again", stored)
			g.Cut()
			eventually(t, "the session is parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 1 })
			if err := said.Emit(t.Context(), server.To("r"), "in r"); err != nil {
				t.Fatal(err)
			}
			g.connect(t, server)
			if !g.recovered {
				t.Error("not recovered")
			}
			say(t, server, "end")
			if !leave {
				g.wants(t, "in r")
			}
			g.wants(t, "end")
		})
	}
}

// TestOperation_RepeatedAfterAnotherChange_SessionEnds: the socket has left the room since, so the log has both changes in the
// other order. A node that restored the session would put it into the room again.
func TestOperation_RepeatedAfterAnotherChange_SessionEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	db := b.open(t, &Options{PollInterval: 20 * time.Millisecond})
	server := serve(t, db)
	var g testClient
	g.connect(t, server)
	say(t, server, "kept")
	g.wants(t, "kept")
	if err := server.Except().Join(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stored", func() bool { return b.int(t, "select count(*) from session_rooms") == 1 })
	lost := b.head(t)
	b.exec(t, "delete from session_rooms")
	repeat := b.lostAndRepeated(t, lost, db)
	for s := range server.Sockets() {
		if err := s.Leave(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
	}
	repeat()
	eventually(t, "the session is over", func() bool { return b.int(t, "select count(*) from sessions") == 0 })
	say(t, server, "end")
	g.wants(t, "end")
	g.Cut()
	g.connect(t, server)
	if g.recovered {
		t.Error("recovered")
	}
}

// A gapLocal opens a session while the server is about to learn of a gap, at a position of before.
type gapLocal struct {
	*adaptertest.Recorder
	store  *Sessions
	before adapter.Position
	opened chan *adapter.Receipt
}

func (l *gapLocal) LogGap(at adapter.Offset, cause error) {
	s := &recovery.Session{Key: recovery.Key{PIDHash: recovery.HashPID("p"), Epoch: 1}, Namespace: "/", Window: time.Minute}
	s.Opened, s.Applied, s.From = l.before, l.before, l.before
	l.opened <- l.store.Open(s)
	l.Recorder.LogGap(at, cause)
}

// TestReset_SessionOpenedBeforeTheServerKnows_NotAhead: a session that is opened at the former end of the log, when the node
// has found another log but its server does not know yet, does not begin beyond the end of the new one.
func TestReset_SessionOpenedBeforeTheServerKnows_NotAhead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{PollInterval: 20 * time.Millisecond})
	local := &gapLocal{Recorder: &adaptertest.Recorder{}, store: db.Sessions(), opened: make(chan *adapter.Receipt, 1)}
	if _, err := db.Bind(local); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		local.before = delivered(t, db, adaptertest.Event("x")).Position
	}
	b.exec(t, "begin; truncate log; update meta set log_number = (log_number + 2) % 4294967296; select setval('log_id_seq', 1, false); commit")
	select {
	case opened := <-local.opened:
		if err := opened.Wait(soon(t)); err != nil {
			t.Fatal(err)
		}
	case <-soon(t).Done():
		t.Fatal("no gap")
	}
	if opened := b.int(t, "select opened from sessions"); adapter.Position(opened) >= local.before {
		t.Errorf("the session begins at %d, as in the former log", opened)
	}
}

// TestWaitDelivered_LateAnswerOfTheFormerPrimary: a node learns that its batch was appended after it has noticed that the log
// has lost it.
func TestWaitDelivered_LateAnswerOfTheFormerPrimary(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	dbs, _ := b.nodes(t, 1, &Options{PollInterval: 20 * time.Millisecond})
	delivered(t, dbs[0], adaptertest.Event("kept"))
	lost := delivered(t, dbs[0], adaptertest.Event("lost"))
	b.lostAndRepeated(t, batchID(lost.Position), dbs...)
	dbs[0].publisher.reader.appended(lost.Position, nil)
	if err := dbs[0].WaitDelivered(soon(t)); err != nil {
		t.Errorf("%v: it waits for what the log does not have", err)
	}
	delivered(t, dbs[0], adaptertest.Event("next"))
}

// TestLostDeliveries_Forgotten: what the log lost is not remembered for longer than the retention, also if the log loses
// nothing more.
func TestLostDeliveries_Forgotten(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tail := &tail{base: base{opts: &Options{Retention: time.Minute}}}
	tail.lost.truncated([]*logBatch{{batchPos: batchPos{origin: 1, seq: 1}, names: make([]byte, eventNameBytes)}}, now)
	tail.evictExpired(now.Add(time.Minute))
	if len(tail.lost.batches) != 1 || len(tail.lost.events) != 1 {
		t.Error("forgotten too early")
	}
	tail.evictExpired(now.Add(time.Minute + 1))
	if tail.lost.batches != nil || tail.lost.events != nil {
		t.Errorf("remembered: %v, %v", tail.lost.batches, tail.lost.events)
	}
}
