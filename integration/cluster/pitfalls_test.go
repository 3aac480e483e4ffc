//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/pgadapter"
)

// The tests of this file are for faults that other Socket.IO adapters for Postgres have, or had.

// sequence returns the numbers of a publisher's events.
func sequence(publisher, count int) []checker.ID {
	ids := make([]checker.ID, count)
	for i := range ids {
		ids[i] = checker.NewID(publisher, i)
	}
	return ids
}

// checkReceived waits until a client has received count events of each publisher, and fails the test if these are not
// all of their events, in order, and nothing else.
func (h *subscriber) checkReceived(t *testing.T, count int, publishers ...int) {
	t.Helper()
	total := count * len(publishers)
	err := h.await(harness.ContextFor(t, harness.MaxWait), func(ids []checker.ID) bool { return len(ids) >= total })
	if err != nil {
		t.Errorf("client %s: %v, want %d", h.ID(), err, total)
	}
	rest := h.received()
	for _, p := range publishers {
		mine := slices.DeleteFunc(slices.Clone(rest), func(id checker.ID) bool { return id.Publisher() != p })
		if !slices.Equal(mine, sequence(p, count)) {
			t.Errorf("client %s got of publisher %d %v", h.ID(), p, mine)
		}
	}
	if len(rest) != total {
		t.Errorf("client %s got %d events, want %d", h.ID(), len(rest), total)
	}
}

// TestCluster_SecondNamespace: a namespace with a LISTEN of its own could block behind the connection that waits for
// the first namespace, and its sockets would receive nothing from other nodes.
func TestCluster_SecondNamespace(t *testing.T) {
	const count = 20
	cl := harness.NewCluster(t, 3)
	var first, second []*subscriber
	for _, n := range cl.Nodes {
		first = append(first, subscribe(t, n))
		second = append(second, subscribeIn(t, n, "/chat"))
	}
	var publishing sync.WaitGroup
	for i, n := range cl.Nodes {
		publishing.Go(func() {
			n.PublishUnrecorded(harness.Publication{Publisher: 1 + i, Count: count})
			n.PublishUnrecorded(harness.Publication{Publisher: 11 + i, Count: count, Namespace: "/chat"})
		})
	}
	publishing.Wait()
	for i := range cl.Nodes {
		first[i].checkReceived(t, count, 1, 2, 3)
		second[i].checkReceived(t, count, 11, 12, 13)
	}
}

// TestCluster_BinaryData: an adapter that encodes packets as JSON delivers binary data to other nodes as empty
// objects. Official clients at three nodes receive the bytes as they were sent, at any depth, small ones and more
// than a NOTIFY can carry, live and in a replay.
func TestCluster_BinaryData(t *testing.T) {
	cl := harness.NewCluster(t, 3)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(4, cl.RunningURLs(), nil) // the first node has clients 0 and 3
	cs.CutAndHold("reset", 3)
	sizes := []int{0, 3, 100_000}
	for _, size := range sizes {
		cs.Call(0, "send", parcel(size))
	}
	cs.Reconnect(cl.Nodes[1].URL, 3)
	for k := range 4 {
		cs.Await(harness.MaxWait, "all events", func() bool { return len(cs.ByNumber[k].Events) == len(sizes) })
		for i, e := range cs.Get(k).Events {
			want, err := json.Marshal(parcel(sizes[i]))
			if err != nil {
				t.Fatal(err)
			}
			var got any // the order of an object's fields does not matter
			if err := json.Unmarshal(e.Args[0], &got); err != nil {
				t.Fatal(err)
			}
			if text, err := json.Marshal(got); err != nil || e.Event != "parcel" || !bytes.Equal(text, want) {
				t.Errorf("client %d got %s %.200s, want %.200s", k, e.Event, text, want)
			}
		}
	}
	cs.CheckAllRecovered(1)
}

// parcel is an event with binary data of three sizes, in the encoding of the client host.
func parcel(size int) map[string]any {
	bin := func(first byte, size int) map[string][]byte {
		data := make([]byte, size)
		for i := range data {
			data[i] = first + byte(i*7>>2)
		}
		return map[string][]byte{"$bin": data}
	}
	return map[string]any{
		"label": fmt.Sprint(size), "data": bin(0, size), "parts": []any{bin(100, size/2), bin(200, 1)},
	}
}

// TestListen_Lost_IsRestored terminates the listening connections of all nodes. They are replaced, and nothing is
// lost meanwhile, nor are the answers to a pending request.
func TestListen_Lost_IsRestored(t *testing.T) {
	const rounds, count = 5, 20
	cl := harness.NewCluster(t, 2)
	conn := cl.Connect()
	subscribers := []*subscriber{subscribe(t, cl.Nodes[0], "others"), subscribe(t, cl.Nodes[1], "others")}
	notified := []*subscriber{subscribe(t, cl.Nodes[0], "notified"), subscribe(t, cl.Nodes[1], "notified")}
	answerers := []*responder{connectResponder(t, cl.Nodes[0], "here"), connectResponder(t, cl.Nodes[1], "here")}

	listening := cl.AwaitListeners(conn, []uint32{})
	for round := range rounds {
		release := make(chan struct{})
		for _, a := range answerers {
			a.hold(release)
		}
		q := withTimeout(harness.MaxWait)
		q.Target.Rooms = []string{answerers[0].ID(), answerers[1].ID()}
		answer := startCall(t.Context(), cl.Nodes[round%2], "call", q)
		for _, a := range answerers {
			a.wait(t, "asked", a.requested)
		}
		if n := cl.Terminate(t.Context(), conn, "listen"); n != 2 {
			t.Fatalf("%d listening connections", n)
		}
		for i, n := range cl.Nodes {
			n.PublishUnrecorded(harness.Publication{
				Publisher: 1 + i, First: round * count, Count: count, Wait: true, Targets: []checker.Target{{Rooms: []string{"others"}}},
			})
		}
		close(release)
		p := answer()
		p.check(t, "call", 2)
		p.checkBefore(t, "call", harness.MaxWait)
		listening = cl.AwaitListeners(conn, listening)
	}

	// Notifications work again: a node that only polls once a second would take a second for each event after the first.
	quickest := harness.MaxWait
	for i := range 10 {
		began := time.Now()
		cl.Nodes[i%2].PublishUnrecorded(harness.Publication{
			Publisher: 3, First: i, Count: 1, Wait: true, Targets: []checker.Target{{Rooms: []string{"notified"}}},
		})
		for _, h := range notified {
			last := checker.NewID(3, i)
			if err := h.await(harness.ContextFor(t, harness.MaxWait), func(ids []checker.ID) bool { return slices.Contains(ids, last) }); err != nil {
				t.Fatal(err)
			}
		}
		if i > 0 {
			quickest = min(quickest, time.Since(began))
		}
	}
	if quickest > time.Second/2 {
		t.Errorf("the fastest event took %v", quickest)
	}
	for _, h := range subscribers {
		h.checkReceived(t, rounds*count, 1, 2)
	}
}

// TestCluster_LargeEventsKeepOrder: an adapter that stores large events outside NOTIFY can deliver later small events
// first. Every fourth event here is larger than a NOTIFY can be.
func TestCluster_LargeEventsKeepOrder(t *testing.T) {
	const count = 80
	cl := harness.NewCluster(t, 2)
	subscribers := []*subscriber{subscribe(t, cl.Nodes[0]), subscribe(t, cl.Nodes[1])}
	var publishing sync.WaitGroup
	for publisher, wait := range []bool{true, true, false, false} {
		publishing.Go(func() {
			cl.Nodes[publisher%2].PublishUnrecorded(harness.Publication{
				Publisher: publisher + 1, Count: count, Wait: wait, Pad: 20_000, PadEvery: 4,
			})
		})
	}
	publishing.Wait()
	for _, h := range subscribers {
		h.checkReceived(t, count, 1, 2, 3, 4)
	}
	if !slices.Equal(subscribers[0].received(), subscribers[1].received()) {
		t.Error("two clients received different orders")
	}
}

// TestPostgres_BackendsTerminated terminates every connection of every node to Postgres again and again under load.
// No node exits, no client loses its connection, and nothing is lost or duplicated.
func TestPostgres_BackendsTerminated(t *testing.T) {
	const rounds, perRound = 10, 40
	cl := harness.NewCluster(t, 2)
	conn := cl.Connect()
	subscribers := []*subscriber{subscribe(t, cl.Nodes[0]), subscribe(t, cl.Nodes[1])}
	listening := []uint32{}
	for round := range rounds {
		listening = cl.AwaitListeners(conn, listening)
		var publishing sync.WaitGroup
		for i, n := range cl.Nodes {
			publishing.Go(func() {
				n.PublishUnrecorded(harness.Publication{Publisher: 1 + i, First: round * perRound, Count: perRound, Wait: true})
			})
		}
		// Events of this round have arrived, and more are on their way.
		if err := subscribers[round%2].await(harness.ContextFor(t, harness.MaxWait), func(ids []checker.ID) bool {
			return len(ids) > 2*round*perRound
		}); err != nil {
			t.Fatal(err)
		}
		if n := cl.Terminate(t.Context(), conn, "listen"); n != len(cl.Nodes) {
			t.Errorf("%d listening connections", n)
		}
		if cl.Terminate(t.Context(), conn, "publish") == 0 {
			t.Error("no connection was appending")
		}
		cl.Terminate(t.Context(), conn, "pool") // there may be none
		publishing.Wait()
	}
	for i, h := range subscribers {
		h.checkReceived(t, rounds*perRound, 1, 2)
		if len(h.closed) > 0 {
			t.Errorf("client %d lost its connection", i)
		}
	}
	for _, n := range cl.Nodes {
		select {
		case <-n.Exited:
			t.Errorf("node %s has exited", n.Name)
		default:
		}
	}
}

// A tickEvent is the payload of the event that the nodes emit.
type tickEvent struct{ publisher, seq int }

func (t *tickEvent) Args() []any { return []any{&t.publisher, &t.seq} }

const (
	tick        socketio.Event[tickEvent]    = "tick"
	serverEvent socketio.ServerEvent[string] = "server-event"
)

// TestEmitter_ReachesAllNodes: events of a process without a server reach every node, in every namespace, in order
// and only their audience, also while the emitter's connection is terminated again and again.
func TestEmitter_ReachesAllNodes(t *testing.T) {
	const count = 100
	cl := harness.NewCluster(t, 2)
	conn := cl.Connect()
	name := cl.Schema + "-emitter"
	log, err := pgadapter.OpenEmitter(t.Context(), harness.WithApplicationName(t, cl.DSN, name), &pgadapter.EmitterOptions{
		Schema: cl.Schema, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	io := socketio.NewEmitter(log)
	var everybody, members, elsewhere []*subscriber
	for _, n := range cl.Nodes {
		everybody = append(everybody, subscribe(t, n))
		members = append(members, subscribe(t, n, "members"))
		elsewhere = append(elsewhere, subscribeIn(t, n, "/chat"))
	}

	emit := func(to socketio.Target, publisher, seq int) {
		t.Helper()
		if err := tick.Emit(harness.ContextFor(t, harness.MaxWait), to, tickEvent{publisher, seq}); err != nil {
			t.Fatal(err)
		}
	}
	ended := 0
	for seq := range count {
		if seq%10 == 5 {
			var n int
			err := conn.QueryRow(t.Context(), "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1", name).Scan(&n)
			if err != nil {
				t.Fatal(err)
			}
			ended += n
		}
		emit(io, 1, seq)
		emit(io.To("members"), 2, seq)
		emit(io.To("late"), 3, seq) // an empty room
		emit(io.Of("/chat"), 4, seq)
	}
	if err := io.To("members").Join(t.Context(), "late"); err != nil {
		t.Fatal(err)
	}
	for seq := range count {
		emit(io.To("late"), 5, seq)
	}
	if err := serverEvent.Emit(t.Context(), io, "news"); err != nil {
		t.Fatal(err)
	}
	for i, n := range cl.Nodes {
		everybody[i].checkReceived(t, count, 1)
		members[i].checkReceived(t, count, 1, 2, 5)
		elsewhere[i].checkReceived(t, count, 4)
		// The request of the other node is behind the server event in the log, and a node handles them in order.
		call(cl.Nodes[1-i], "servers", withTimeout(harness.MaxWait)).check(t, "servers", 1)
		var stats struct{ ServerEvents []string }
		if n.Get("stats", &stats); !slices.Equal(stats.ServerEvents, []string{"news"}) {
			t.Errorf("%s received server events %q", n.Name, stats.ServerEvents)
		}
	}
	if ended != count/10 {
		t.Errorf("the connection was terminated %d times", ended)
	}
}
