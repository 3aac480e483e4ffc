//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/recovery"
)

// TestOperations_JoinAndLeaveInOrder: one goroutine on each of two nodes puts everybody into a room, emits to it,
// takes everybody out and emits again. Even events have receivers, odd ones have none. Two more goroutines share a
// room, so that only the log decides. Some clients are cut again and again and reconnect to the other node. Every
// client receives what the log has, in its order.
func TestOperations_JoinAndLeaveInOrder(t *testing.T) {
	rounds := 250 // of two operations and two events
	if longRun() {
		rounds = 1250
	}
	cl := harness.NewCluster(t, 2)
	subscribers := make([]*subscriber, 8)
	for i := range subscribers {
		subscribers[i] = subscribe(t, cl.Nodes[i%2], "base")
	}

	began := time.Now()
	var rolling, roaming sync.WaitGroup
	for publisher, through := range []string{"first", "second", "shared", "shared"} {
		rolling.Go(func() {
			_, err := harness.Control[bool](t.Context(), cl.Nodes[publisher%2], "join-leave", map[string]any{
				"publisher": publisher + 1, "count": rounds, "from": "base", "through": through,
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	ctx := harness.ContextFor(t, 5*time.Minute)
	rolled := make(chan struct{})
	cuts := make([]int, len(subscribers))
	for i, h := range subscribers {
		roaming.Go(func() { cuts[i] = h.reconnectRepeatedly(ctx, cl, i%3 == 0, rolled) })
	}
	rolling.Wait()
	took := time.Since(began)
	close(rolled)
	cl.Nodes[0].PublishUnrecorded(harness.Publication{Publisher: harness.FencePublisher, First: 1, Count: 1})
	roaming.Wait()

	want := expectedEvents(t, cl.LogEntries(), "base")
	counts := make([]int, 5)
	for _, id := range want {
		if id.Publisher() == harness.FencePublisher {
			continue
		}
		counts[id.Publisher()]++
		if id.Publisher() <= 2 && id.Seq()%2 == 1 {
			t.Errorf("by the log %v has receivers", id)
		}
	}
	if counts[1] != rounds || counts[2] != rounds || counts[3] < rounds/2 || counts[4] < rounds/2 {
		t.Errorf("by the log each client receives %d events of each publisher", counts)
	}
	for i, h := range subscribers {
		compareEvents(t, i, h.received(), want)
	}
	t.Logf("SUMMARY %s: %d rounds of four goroutines on two nodes in %.1fs, %d clients with %d events each, %v cuts",
		t.Name(), 4*rounds, took.Seconds(), len(subscribers), len(want), cuts)
	if slices.Max(cuts) == 0 {
		t.Error("no client reconnected")
	}
}

// reconnectRepeatedly stays connected until the last event. While restless, it cuts its connection after every 40
// events and reconnects to the other node. It returns the number of cuts.
func (h *subscriber) reconnectRepeatedly(ctx context.Context, cl *harness.Cluster, restless bool, enough <-chan struct{}) int {
	cuts, next, connections, ended := 0, 40, 1, 0
	for {
		ids, changed := h.snapshot()
		if n := len(ids); n > 0 && ids[n-1].Publisher() == harness.FencePublisher {
			return cuts
		}
		select {
		case <-enough:
			restless = false
		default:
		}
		if restless && len(ids) >= next {
			h.Cut()
			cuts++
			next = len(ids) + 40
		} else if ended < connections { // otherwise the node has closed it, because it was slow
			select {
			case <-changed:
			case <-h.closed:
				ended++
			case <-ctx.Done():
				cl.T.Errorf("client %s did not receive the last event, after %d others", h.ID(), len(ids))
				return cuts
			}
			continue
		}
		if err := h.Connect(ctx, cl.Nodes[connections%2].Addr); err != nil || !h.Recovered() {
			cl.T.Errorf("client %s reconnected after %d events: %v, recovered: %v", h.ID(), len(ids), err, h.Recovered())
			return cuts
		}
		connections++
	}
}

// compareEvents fails the test if a client did not receive what the log has.
func compareEvents(t *testing.T, client int, got, want []checker.ID) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i < len(got) && i < len(want) && got[i] == want[i] {
			continue
		}
		around := func(ids []checker.ID) []checker.ID { return ids[min(max(i-3, 0), len(ids)):min(i+5, len(ids))] }
		t.Errorf("client %d received %d events instead of %d; from number %d on\n  got  %v\n  want %v",
			client, len(got), len(want), max(i-3, 0), around(got), around(want))
		return
	}
}

// A clientGroup is three clients that are disconnected, or whose node is suspended, while the rooms of all of them
// are changed and the third one is disconnected by the server.
type clientGroup struct {
	t            *testing.T
	number       int
	clients      []int
	disconnected int
	cluster      *harness.Cluster
	all          *harness.Clients
	emitted      *int
	readers      *[]*subscriber // receive what is emitted to everybody, at the healthy nodes
}

func (g *clientGroup) room(name string) string { return fmt.Sprintf("%s-%d", name, g.number) }

// operate has the second node change the group's rooms, or disconnect a client, and then emit. It returns when the
// readers have received that.
func (g *clientGroup) operate(do, to, room string) {
	g.all.T.Helper()
	begun := time.Now().UnixNano()
	n := g.cluster.Nodes[1]
	n.Operate(do, harness.Audience{Rooms: []string{g.room(to)}}, g.room(room))
	done := time.Now().UnixNano()
	for _, k := range g.clients {
		switch do {
		case "join":
			g.all.History.Joined(k, g.room(room), begun, done)
		case "leave":
			g.all.History.Left(k, g.room(room), begun, done)
		case "disconnect":
			if k == g.disconnected {
				g.all.History.Left(k, g.room("new"), begun, done)
			}
		}
	}
	*g.emitted++
	first, count := 100**g.emitted, 10
	n.MustPublish(g.all.History, harness.Publication{
		Publisher: 1, First: first, Count: count, Targets: []checker.Target{
			{}, {Rooms: []string{g.room("base")}}, {Rooms: []string{g.room("old")}}, {Rooms: []string{g.room("new")}}, {Except: []string{g.room("new")}},
		},
	})
	last := checker.NewID(1, first+count-1)
	for _, h := range *g.readers {
		if err := h.await(harness.ContextFor(g.t, harness.MaxWait), func(ids []checker.ID) bool { return slices.Contains(ids, last) }); err != nil {
			g.t.Fatal(err)
		}
	}
}

// check compares what the node knows of the clients with what the operations did.
func (g *clientGroup) check() {
	g.all.T.Helper()
	for _, k := range g.clients {
		h := g.all.WhoAmI(k)
		rooms := slices.DeleteFunc(h.Rooms, func(room string) bool { return room == h.ID })
		want := []string{g.room("base"), g.room("kept"), g.room("new")}
		reason := ""
		if k == g.disconnected {
			want, reason = []string{}, recovery.ErrOver.Error()
		}
		if !slices.Equal(rooms, want) || h.Recovered == (k == g.disconnected) || h.Reason != reason {
			g.all.T.Errorf("client %d of group %d: %+v, want rooms %q, reason %q", k, g.number, h, want, reason)
		}
	}
}

// TestOperations_AbsentClients changes the rooms of clients, and disconnects one of them, while they are disconnected
// and their node runs, while it is killed, and while it is suspended and then killed. When they reconnect, their
// rooms are those after the operations, and they receive what was emitted to these. The disconnected client gets a
// new session and the reason.
func TestOperations_AbsentClients(t *testing.T) {
	cl := harness.NewCluster(t, 2, "-lease", "3s")
	first, second := cl.Nodes[0], cl.Nodes[1]
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(9, []string{first.URL}, nil)
	cs.SetNodes([]string{second.URL})
	var groups []*clientGroup
	emitted, readers := 0, []*subscriber{subscribe(t, second), subscribe(t, first)}
	for i := range 3 {
		g := &clientGroup{t: t, number: i, clients: []int{3 * i, 3*i + 1, 3*i + 2}, disconnected: 3*i + 2, cluster: cl, all: cs, emitted: &emitted, readers: &readers}
		cs.Join(g.clients[:2], func(int) []string { return []string{g.room("base"), g.room("old"), g.room("kept")} })
		cs.Join(g.clients[2:], func(int) []string { return []string{g.room("base"), g.room("disconnected")} })
		groups = append(groups, g)
	}
	alive, killed, suspended := groups[0], groups[1], groups[2]

	cs.CutAndHold("reset", alive.clients...)
	cs.CutAndHold("close", killed.clients...)
	alive.operate("join", "base", "new")
	killed.operate("join", "base", "new")
	alive.operate("disconnect", "disconnected", "")
	alive.operate("leave", "old", "old")
	cs.Reconnect(first.URL, alive.clients...)
	alive.check()
	cs.CutAndHold("half", alive.clients...)

	cs.SendAll(suspended.clients, harness.Command{"c": "roam"})
	cs.WaitDelivered()
	readers = readers[:1]
	first.Suspend()
	suspended.operate("join", "base", "new")
	suspended.operate("disconnect", "disconnected", "")
	killed.operate("leave", "old", "old")
	suspended.operate("leave", "old", "old")
	killed.operate("disconnect", "disconnected", "")
	first.Kill()
	ticks := make(map[int]int)
	for _, g := range groups {
		ticks[g.disconnected] = cs.Get(g.disconnected).Ticks
	}
	cs.Reconnect(second.URL, slices.Concat(alive.clients, killed.clients)...)
	cs.Await(harness.MaxWait, "the clients of the killed node are at the other", func() bool {
		return cs.AllConnectedLocked() && cs.ByNumber[6].Connects == 2 && cs.ByNumber[7].Connects == 2 && cs.ByNumber[8].Connects == 2
	})
	killed.check()
	suspended.check()

	cs.AwaitDelivery(second, harness.MaxWait)
	cs.Check()
	for _, g := range groups[1:] {
		if got := cs.Get(g.disconnected).Ticks - ticks[g.disconnected]; got != 1 {
			t.Errorf("client %d, which was disconnected, received %d events in its new session instead of 1", g.disconnected, got)
		}
	}
}
