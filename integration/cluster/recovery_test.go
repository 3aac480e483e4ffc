//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
)

// TestRecovery_CutBeforeFirstEvent: a client that has received no event has no offset, and is recovered.
func TestRecovery_CutBeforeFirstEvent(t *testing.T) {
	cl := harness.NewCluster(t, 2)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(12, cl.RunningURLs()[:1], nil)
	cs.Join([]int{1, 3, 5}, func(int) []string { return []string{"odd"} })
	hows := []string{"reset", "close", "half"}

	for k := range 12 {
		cs.CutAndHold(hows[k%3], k)
	}
	cl.Nodes[1].MustPublish(cs.History, harness.Publication{Publisher: 1, Count: 10, Targets: []checker.Target{
		{}, {Rooms: []string{"odd"}}, {Except: []string{"odd"}},
	}})
	for k := range 12 {
		cs.Reconnect(cl.Nodes[k/3%2].URL, k) // each kind of cut at the same node and at another
	}

	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(12)
}

// TestRecovery_SilentLongerThanRetention: a client that receives no event for longer than events are kept is
// recovered, after a cut and after its node was killed.
func TestRecovery_SilentLongerThanRetention(t *testing.T) {
	q := newSilentClients(t)
	cl, cs := q.cluster, q.clients

	cs.CutAndHold("reset", 0, 4)
	cs.CutAndHold("close", 1, 5)
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 3, Count: 5})
	cs.Reconnect(cl.Nodes[1].URL, 0, 1)
	cs.Reconnect(cl.Nodes[0].URL, 4, 5)
	cs.SetNodes([]string{cl.Nodes[1].URL})
	cs.SendAll(harness.Numbers(10), harness.Command{"c": "roam"})
	cs.WaitDelivered()
	cl.Nodes[0].Kill()
	cs.Await(harness.MaxWait, "all are on the other node", func() bool {
		for _, k := range []int{2, 4, 5, 6, 8} { // those of the killed node
			if !cs.ByNumber[k].Connected || cs.ByNumber[k].Connects < 2 {
				return false
			}
		}
		return cs.AllConnectedLocked()
	})

	cs.AwaitDelivery(cl.Nodes[1], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(9)
	t.Logf("SUMMARY %s: the log was trimmed up to %d, the offset of the silent clients is %d; refused %v", t.Name(), cl.LogLow(t), q.position, cl.Nodes[1].Stats().Refused)
}

// TestRecovery_SilentThenUnnoticedCut: the connection of a silent client breaks, and its node sends an event before
// it notices. The log has the missed event, so the client is recovered.
func TestRecovery_SilentThenUnnoticedCut(t *testing.T) {
	q := newSilentClients(t)
	cl, cs := q.cluster, q.clients

	cs.CutAndHold("half", harness.Numbers(8)...)
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 3, Count: 5})
	for k := range 8 { // with and without a received event, at the same node and at the other
		cs.Reconnect(cl.Nodes[k/2%2].URL, k)
	}

	cs.AwaitDelivery(cl.Nodes[1], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(8)
}

// silentClients is a cluster in which clients 0 to 3 have received one event, and 4 to 7 none, so long ago that the
// log has trimmed it. Even numbers are on the first node, odd ones on the second.
type silentClients struct {
	cluster  *harness.Cluster
	clients  *harness.Clients
	position adapter.Position // of that event
}

func newSilentClients(t *testing.T) *silentClients {
	t.Helper()
	cl := harness.NewCluster(t, 2, "-retention", "16s") // checkpoints are made every 4 s
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(10, cl.RunningURLs(), nil)
	cs.Join([]int{0, 1, 2, 3, 8, 9}, func(int) []string { return []string{"once"} })
	cs.Join([]int{8, 9}, func(int) []string { return []string{"noise"} })
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 1, Count: 1, Targets: []checker.Target{{Rooms: []string{"once"}}}})
	cs.Await(harness.MaxWait, "the one event", func() bool {
		return cs.ByNumber[0].Ticks+cs.ByNumber[1].Ticks+cs.ByNumber[2].Ticks+cs.ByNumber[3].Ticks == 4
	})
	q := &silentClients{cl, cs, cl.LogHead(t)}

	// Events for the others, until both nodes have a checkpoint of the silent clients after them. Then the log is trimmed.
	const noise = 50
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 2, Count: noise, Targets: []checker.Target{{Rooms: []string{"noise"}}}})
	cs.Await(harness.MaxWait, "the traffic", func() bool { return cs.ByNumber[8].Ticks == 1+noise && cs.ByNumber[9].Ticks == 1+noise })
	head := cl.LogHead(t)
	if !harness.Eventually(harness.MaxWait, func() bool {
		var silent int
		cl.QueryRow(t, &silent, "select count(*) from %[1]s.sessions s join %[1]s.nodes n on n.id = s.node where s.checkpointed and s.known and n.checkpoint >= "+fmt.Sprint(head))
		return silent >= 8
	}) {
		t.Fatal("no checkpoint of the silent clients")
	}
	cl.TrimLog(t, q.position)
	return q
}

// TestRecovery_UnnoticedCut: a client reconnects to the same node or another while its old connection is open at the
// server. It is recovered, and the old socket is removed.
func TestRecovery_UnnoticedCut(t *testing.T) {
	cl := harness.NewCluster(t, 2)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(20, cl.RunningURLs()[:1], nil)
	cs.Join(harness.Numbers(20), harness.RoomsOf)
	stop := harness.StartPublishing(t, cl.Nodes[1], cs.History, 1, 200)

	for k := range 10 {
		cs.Cut("half", harness.Command{"url": cl.Nodes[0].URL}, k)
	}
	for k := 10; k < 20; k++ {
		cs.Cut("half", harness.Command{"url": cl.Nodes[1].URL}, k)
	}
	cs.Await(harness.MaxWait, "all have reconnected", func() bool {
		for _, k := range cs.ByNumber {
			if k.Connects != 2 {
				return false
			}
		}
		return cs.AllConnectedLocked()
	})
	stop()

	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(20)
	if !harness.Eventually(harness.MaxWait, func() bool { return len(cl.Nodes[0].Sockets()) == 10 }) {
		t.Errorf("the first node has %d sockets, want those of the 10 clients that reconnected to it", len(cl.Nodes[0].Sockets()))
	}
	for k := range 20 {
		where := 0
		for _, n := range cl.Nodes {
			for _, s := range n.Sockets() {
				if s.ID != cs.Get(k).ID {
					continue
				}
				where++
				if want := append(harness.RoomsOf(k), s.ID); len(s.Rooms) != 3 || !slices.Contains(s.Rooms, want[0]) || !slices.Contains(s.Rooms, want[1]) {
					t.Errorf("client %d was recovered in rooms %q, was in %q", k, s.Rooms, want)
				}
			}
		}
		if where != 1 {
			t.Errorf("client %d has %d sockets", k, where)
		}
	}
	var gone map[string]int
	if !harness.Eventually(harness.MaxWait, func() bool {
		gone = cl.Nodes[0].Stats().Disconnects
		return gone["session taken over"]+gone["transport close"] == 20
	}) {
		t.Errorf("reasons of the old sockets: %v", gone)
	}
}

// TestRecovery_FormerOwnerIsIgnored: a node notices the end of its connections after their clients have moved to
// another node. Its late statements about the sessions have no effect: they do not expire, keep their rooms, and are
// recovered again.
func TestRecovery_FormerOwnerIsIgnored(t *testing.T) {
	const size = 40
	cl := harness.NewCluster(t, 2, "-window", "1s", "-retention", "20s", "-lease", "10s")
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs()[:1], nil)

	cl.Nodes[0].Suspend()
	cl.Terminate(t.Context(), cl.Connect(), "listen") // so that it notices the cuts before it reads of the takeover
	cs.Cut("reset", harness.Command{"url": cl.Nodes[1].URL}, harness.Numbers(size)...)
	cs.Await(harness.MaxWait, "all are at the other node", func() bool { return cs.ConnectedTimesLocked(2) })
	cl.Nodes[0].Resume()
	harness.Pause(t.Context(), 2500*time.Millisecond)
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	cs.Cut("close", harness.Command{"url": cl.Nodes[0].URL}, harness.Numbers(size)...)
	cs.Await(harness.MaxWait, "all are connected again", func() bool { return cs.ConnectedTimesLocked(3) })

	cl.Nodes[1].MustPublish(cs.History, harness.Publication{Publisher: 1, Count: 20, Targets: harness.Targets()})
	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(2 * size)
	if gone := cl.Nodes[0].Stats().Disconnects; gone["session taken over"] == size {
		t.Errorf("the former owner noticed no cut first; reasons of its sockets: %v", gone)
	}
	for _, n := range cl.Nodes {
		if expired := n.Stats().Expired; len(expired) > 0 {
			t.Errorf("%d sessions of connected clients expired on %s", len(expired), n.Name)
		}
	}
}

// TestRecovery_TenCutsInARow cuts clients ten times as fast as they reconnect, under load, and ten times during a
// replay.
func TestRecovery_TenCutsInARow(t *testing.T) {
	const size = 24
	cl := harness.NewCluster(t, 3)
	cs := harness.NewClients(t, 2)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	stop := harness.StartPublishing(t, cl.Nodes[0], cs.History, 1, 300)
	for round := range 10 {
		for k := range size {
			cs.Cut([]string{"reset", "close", "half"}[(round+k)%3], nil, k)
		}
		cs.Await(harness.MaxWait, fmt.Sprintf("all have reconnected after cut %d", round+1), func() bool {
			for _, k := range cs.ByNumber {
				if k.Connects != round+2 || !k.Connected {
					return false
				}
			}
			return true
		})
	}
	stop()
	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(10 * size)
	if t.Failed() {
		return
	}

	cs.CutAndHold("reset", harness.Numbers(size)...)
	cl.Nodes[1].MustPublish(cs.History, harness.Publication{Publisher: 2, Count: 3000, Pad: 500})
	// A client reads about 100 of these at once, and receives them even if the first one cuts the connection.
	cs.SendAll(harness.Numbers(size), harness.Command{"c": "cuts", "cuts": []int{1, 50, 150, 77, 110, 2, 40, 133, 90, 123}})
	cs.StartReconnect("", harness.Numbers(size)...)
	cs.Await(harness.MaxWait, "all have received the 3,000 events", func() bool {
		for _, k := range cs.ByNumber {
			if !k.Connected || k.Connects < 22 {
				return false
			}
		}
		return true
	})
	cs.AwaitDelivery(cl.Nodes[2], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(21 * size)
	replayed := 0
	for _, n := range cl.Nodes {
		replayed += n.Stats().Replayed
	}
	back, recovered := cs.Reconnections()
	t.Logf("SUMMARY %s: %d clients, %d reconnections, %d recovered, %d events replayed, %d receipts", t.Name(), size, back, recovered, replayed, cs.History.Receipts())
}

// TestRecovery_Refused_ReasonIsReported: if a recovery without a gap cannot be proven, the client gets a new session,
// and the application the reason.
func TestRecovery_Refused_ReasonIsReported(t *testing.T) {
	cl := harness.NewCluster(t, 2)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(3, cl.RunningURLs()[:1], nil)
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 1, Count: 1})
	cs.Await(harness.MaxWait, "the first event", func() bool {
		return cs.ByNumber[0].Ticks == 1 && cs.ByNumber[1].Ticks == 1 && cs.ByNumber[2].Ticks == 1
	})
	before := cs.FetchOffset(0)
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 1, First: 1, Count: 1})
	cs.Await(harness.MaxWait, "the second event", func() bool { return cs.ByNumber[0].Ticks == 2 })
	cs.Open(3, cl.Nodes[0].URL, nil) // its session begins after the second event
	cs.Await(harness.MaxWait, "client 3 connects", func() bool { return cs.ByNumber[3].Connected })
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 1, First: 2, Count: 1})
	cs.Await(harness.MaxWait, "the third event", func() bool { return cs.ByNumber[0].Ticks == 3 && cs.ByNumber[3].Ticks == 1 })
	cs.CutAndHold("reset", 0, 1, 2, 3)
	pid := func(k int) string { return cs.Get(k).PID }
	good, err := adapter.ParseOffset(cs.FetchOffset(0))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(o *adapter.Offset)) string {
		o := good
		change(&o)
		return o.String()
	}

	k := 100
	refused := func(name, want string, auth map[string]string) {
		t.Helper()
		for _, n := range cl.Nodes {
			k++
			cs.Open(k, n.URL, harness.Command{"auth": auth})
			cs.Await(harness.MaxWait, name, func() bool { return cs.ByNumber[k].Connected })
			if me := cs.WhoAmI(k); me.Recovered || me.Reason != want {
				t.Errorf("%s: recovered %v, reason %q; want %q", name, me.Recovered, me.Reason, want)
			}
			if me := cs.Get(k); me.PID == auth["pid"] {
				t.Errorf("%s: the client has the pid of the old session", name)
			}
		}
	}
	refused("a pid that never existed", "unknown session", map[string]string{"pid": "nosuchsession0000000", "offset": good.String()})
	refused("a pid with special characters", "unknown session", map[string]string{"pid": "'; drop table sessions; --\u0000\U0001f4a9"})
	refused("an offset of another log", "offset of another log", map[string]string{"pid": pid(0), "offset": changed(func(o *adapter.Offset) { o.Log ^= 1 })})
	refused("a batch that the log does not have", "offset of another log", map[string]string{"pid": pid(0), "offset": changed(func(o *adapter.Offset) { o.Check ^= 1 })})
	refused("an offset ahead of the log", "offset ahead of the log", map[string]string{"pid": pid(0), "offset": changed(func(o *adapter.Offset) { o.Position += 1 << 30 })})
	refused("an offset from before the session", "offset before the session", map[string]string{"pid": pid(3), "offset": before})
	for _, bad := range []string{"x", "12345-0", good.String() + "A", good.String()[:21] + "!", string(make([]byte, 2000))} {
		refused(fmt.Sprintf("the offset %.30q", bad), "malformed offset", map[string]string{"pid": pid(0), "offset": bad})
	}
	refused("another namespace's session", "unknown session", map[string]string{"pid": "also-not-there"})

	// A refused request does not change the session.
	cs.Reconnect(cl.Nodes[1].URL, 0)
	if me := cs.WhoAmI(0); !me.Recovered {
		t.Errorf("afterwards the client of the session is not recovered: %q", me.Reason)
	}

	// Trimmed: the log does not keep an event that the client has missed.
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 2, Count: 10})
	cs.Await(harness.MaxWait, "both nodes have read the log", func() bool { return cs.ByNumber[k].Ticks == 10 && cs.ByNumber[k-1].Ticks == 10 })
	cl.TrimLog(t, cl.LogHead(t)-1)
	cs.Reconnect(cl.Nodes[1].URL, 1)
	if me := cs.WhoAmI(1); me.Recovered || me.Reason != "events no longer kept" {
		t.Errorf("trimmed: recovered %v, reason %q", me.Recovered, me.Reason)
	}

	// Rejected: the middleware refuses the client, and the session ends.
	cs.CutAndHold("reset", 0)
	cs.Send(0, harness.Command{"c": "auth", "k": 0, "auth": map[string]string{"refuse": "banned"}})
	cs.StartReconnect(cl.Nodes[0].URL, 0)
	cs.Await(harness.MaxWait, "the middleware refuses", func() bool { return len(cs.ByNumber[0].Errors) > 0 })
	cs.Send(0, harness.Command{"c": "auth", "k": 0, "auth": map[string]string{}})
	cs.Reconnect(cl.Nodes[0].URL, 0)
	if me := cs.WhoAmI(0); me.Recovered || me.Reason != "unknown session" {
		t.Errorf("rejected: recovered %v, reason %q", me.Recovered, me.Reason)
	}
}

// TestRecovery_Expired_ReasonIsReported: a client that is disconnected for longer than the window gets a new session,
// and one node of the cluster reports once that the old one has expired.
func TestRecovery_Expired_ReasonIsReported(t *testing.T) {
	const size = 10
	cl := harness.NewCluster(t, 2, "-window", "500ms", "-retention", "20s", "-lease", "6s")
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs()[:1], nil)
	var ids []string
	reasons := make(map[string]int)
	// Sessions are swept every 5 s: a client that returns before finds an expired session, later none.
	for range 20 {
		before := len(ids)
		for k := range size {
			ids = append(ids, cs.Get(k).ID)
		}
		cs.CutAndHold("reset", harness.Numbers(size)...)
		if !harness.Eventually(harness.MaxWait, func() bool {
			var left int
			cl.QueryRow(t, &left, "select count(*) from %s.sessions where node is not null or expires_at > clock_timestamp()")
			return left == 0
		}) {
			t.Fatal("the window did not end")
		}
		for k := range size {
			cs.Reconnect(cl.Nodes[k%2].URL, k)
		}
		for k := range size {
			me := cs.WhoAmI(k)
			reasons[me.Reason]++
			if me.Recovered || me.ID == ids[before+k] {
				t.Errorf("client %d is recovered after the window", k)
			}
		}
		if reasons["session expired"] > 0 {
			break
		}
	}
	if reasons["session expired"] == 0 || reasons["session expired"]+reasons["unknown session"] != len(ids) {
		t.Errorf("reasons: %v", reasons)
	}
	expired := func() (all []string) {
		for _, n := range cl.Nodes {
			all = append(all, n.Stats().Expired...)
		}
		slices.Sort(all)
		return all
	}
	slices.Sort(ids)
	if !harness.Eventually(harness.MaxWait, func() bool { return len(expired()) >= len(ids) }) || !slices.Equal(expired(), ids) {
		t.Errorf("expired sessions %q, want %q", expired(), ids)
	}
}
