//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package integration_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/integration/history"
)

// TestCutBeforeFirstEvent: a client that has never received anything has no offset, and is recovered all the same.
func TestCutBeforeFirstEvent(t *testing.T) {
	cl := newCluster(t, 2)
	cs := newClients(t, 1)
	cs.connectAll(12, cl.alive()[:1], nil)
	cs.join([]int{1, 3, 5}, func(int) []string { return []string{"odd"} })
	hows := []string{"reset", "close", "half"}

	for k := range 12 {
		cs.away(hows[k%3], k)
	}
	cl.nodes[1].mustPublish(cs.history, publication{Publisher: 1, Count: 10, Targets: []history.Target{
		{}, {Rooms: []string{"odd"}}, {Except: []string{"odd"}},
	}})
	for k := range 12 {
		cs.comeBack(cl.nodes[k/3%2].url, k) // the same node, and another, for each way to be cut
	}

	cs.settleAll(cl.nodes[0], patience)
	cs.judge()
	cs.allRecovered(12)
}

// TestSilentLongerThanRetention: a client to whom nothing was addressed for longer than events are kept is recovered:
// after a cut, and after its node was killed.
func TestSilentLongerThanRetention(t *testing.T) {
	q := newQuiet(t)
	cl, cs := q.cluster, q.clients

	cs.away("reset", 0, 4)
	cs.away("close", 1, 5)
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 3, Count: 5})
	cs.comeBack(cl.nodes[1].url, 0, 1)
	cs.comeBack(cl.nodes[0].url, 4, 5)
	cs.setNodes([]string{cl.nodes[1].url})
	cs.tellAll(numbers(10), order{"c": "roam"})
	cs.sync()
	cl.nodes[0].kill()
	cs.await(patience, "all are on the other node", func() bool {
		for _, k := range []int{2, 4, 5, 6, 8} { // those of the node that was killed
			if !cs.byNum[k].connected || cs.byNum[k].connects < 2 {
				return false
			}
		}
		return cs.allConnectedLocked()
	})

	cs.settleAll(cl.nodes[1], patience)
	cs.judge()
	cs.allRecovered(9)
	t.Logf("SUMMARY %s: the log was trimmed up to %d, the silent clients stood at %d; refused %v", t.Name(), cl.low(t), q.position, cl.nodes[1].stats().Refused)
}

// TestSilentThenBackBeforeNoticed: the line of a client that was silent for long dies unnoticed; then an event is
// addressed to it, which its node sends into the void. The log has all that it missed, so it is recovered.
func TestSilentThenBackBeforeNoticed(t *testing.T) {
	q := newQuiet(t)
	cl, cs := q.cluster, q.clients

	cs.away("half", numbers(8)...)
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 3, Count: 5})
	for k := range 8 { // each of them has received something or not, and comes to the node where it was or to the other
		cs.comeBack(cl.nodes[k/2%2].url, k)
	}

	cs.settleAll(cl.nodes[1], patience)
	cs.judge()
	cs.allRecovered(8)
}

// A quiet is a cluster in which clients 0 to 3 have received one event, and 4 to 7 none, so long ago that the log does
// not have it any more. Even numbers are on the first node, odd ones on the second.
type quiet struct {
	cluster  *cluster
	clients  *clients
	position adapter.Position // of that event
}

func newQuiet(t *testing.T) *quiet {
	t.Helper()
	cl := newCluster(t, 2, "-retention", "16s") // checkpoints are made every 4 s
	cs := newClients(t, 1)
	cs.connectAll(10, cl.alive(), nil)
	cs.join([]int{0, 1, 2, 3, 8, 9}, func(int) []string { return []string{"once"} })
	cs.join([]int{8, 9}, func(int) []string { return []string{"noise"} })
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 1, Count: 1, Targets: []history.Target{{Rooms: []string{"once"}}}})
	cs.await(patience, "the one event", func() bool {
		return cs.byNum[0].ticks+cs.byNum[1].ticks+cs.byNum[2].ticks+cs.byNum[3].ticks == 4
	})
	q := &quiet{cl, cs, cl.head(t)}

	// Traffic for the others, until both nodes have noted that it was not for the silent; and of that, the log knows nothing
	// any more.
	const noise = 50
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 2, Count: noise, Targets: []history.Target{{Rooms: []string{"noise"}}}})
	cs.await(patience, "the traffic", func() bool { return cs.byNum[8].ticks == 1+noise && cs.byNum[9].ticks == 1+noise })
	head := cl.head(t)
	if !eventually(patience, func() bool {
		var silent int
		cl.query(t, &silent, "select count(*) from %[1]s.sessions s join %[1]s.nodes n on n.id = s.node where s.settled and s.known and n.checkpoint >= "+fmt.Sprint(head))
		return silent >= 8
	}) {
		t.Fatal("there is no checkpoint of the silent clients")
	}
	cl.trim(t, q.position)
	return q
}

// trim makes the log forget what there was up to a position: the next partition is taken into use as if it was time.
func (c *cluster) trim(t *testing.T, to adapter.Position) {
	t.Helper()
	conn := c.connect()
	if !eventually(patience, func() bool {
		for _, sql := range []string{
			"update %s.meta set slot_started = slot_started - interval '1 hour'",
			"select %s.empty_slot('1 second')", // may find that somebody reads it
			"select %s.switch_slot('1 second')",
		} {
			_, _ = conn.Exec(t.Context(), fmt.Sprintf(sql, c.schema))
		}
		return c.low(t) > to
	}) {
		t.Fatalf("the log was not trimmed: it reaches back to %d", c.low(t))
	}
}

// low and head return how far back the log reaches, and its newest position.
func (c *cluster) low(t *testing.T) (p adapter.Position) {
	t.Helper()
	c.query(t, &p, "select low from %s.meta")
	return p
}

func (c *cluster) head(t *testing.T) (p adapter.Position) {
	t.Helper()
	c.query(t, &p, "select coalesce(max(id * 4096 + packets - 1), 0) from %s.log")
	return p
}

func (c *cluster) query(t *testing.T, v any, sql string) {
	t.Helper()
	conn := c.connect()
	if err := conn.QueryRow(t.Context(), fmt.Sprintf(sql, c.schema)).Scan(v); err != nil {
		t.Fatal(err)
	}
}

// TestBackBeforeNoticed: a client comes back while its old connection still stands, to the same node and to another.
// It is recovered, and nothing is left of the old socket.
func TestBackBeforeNoticed(t *testing.T) {
	cl := newCluster(t, 2)
	cs := newClients(t, 1)
	cs.connectAll(20, cl.alive()[:1], nil)
	cs.join(numbers(20), rooms)
	stop := publishing(t, cl.nodes[1], cs.history, 1, 200)

	for k := range 10 {
		cs.cut("half", order{"url": cl.nodes[0].url}, k)
	}
	for k := 10; k < 20; k++ {
		cs.cut("half", order{"url": cl.nodes[1].url}, k)
	}
	cs.await(patience, "all came back", func() bool {
		for _, k := range cs.byNum {
			if k.connects != 2 {
				return false
			}
		}
		return cs.allConnectedLocked()
	})
	stop()

	cs.settleAll(cl.nodes[0], patience)
	cs.judge()
	cs.allRecovered(20)
	if !eventually(patience, func() bool { return len(cl.nodes[0].sockets()) == 10 }) {
		t.Errorf("on the first node there are %d sockets, want those of the 10 clients that came back to it", len(cl.nodes[0].sockets()))
	}
	for k := range 20 {
		where := 0
		for _, n := range cl.nodes {
			for _, s := range n.sockets() {
				if s.ID != cs.get(k).id {
					continue
				}
				where++
				if want := append(rooms(k), s.ID); len(s.Rooms) != 3 || !slices.Contains(s.Rooms, want[0]) || !slices.Contains(s.Rooms, want[1]) {
					t.Errorf("client %d came back into rooms %q, was in %q", k, s.Rooms, want)
				}
			}
		}
		if where != 1 {
			t.Errorf("client %d has %d sockets", k, where)
		}
	}
	var gone map[string]int
	if !eventually(patience, func() bool {
		gone = cl.nodes[0].stats().Gone
		return gone["session taken over"]+gone["transport close"] == 20
	}) {
		t.Errorf("the old sockets went for %v", gone)
	}
}

// TestFormerHolderHasNoSay: a node notices late that its clients are gone, when they are at another node already. What
// it then says of their sessions does not count: they do not expire, change their rooms, and are recovered again.
func TestFormerHolderHasNoSay(t *testing.T) {
	const size = 40
	cl := newCluster(t, 2, "-window", "1s", "-retention", "20s", "-lease", "10s")
	cs := newClients(t, 1)
	cs.connectAll(size, cl.alive()[:1], nil)

	cl.nodes[0].freeze()
	cl.terminate(t.Context(), cl.connect(), "listen") // it will hear of the cuts first, and of the takeover later
	cs.cut("reset", order{"url": cl.nodes[1].url}, numbers(size)...)
	cs.await(patience, "all are at the other node", func() bool { return cs.connectsLocked(2) })
	cl.nodes[0].thaw()
	pause(t.Context(), 2500*time.Millisecond)
	cs.join(numbers(size), rooms)
	cs.cut("close", order{"url": cl.nodes[0].url}, numbers(size)...)
	cs.await(patience, "all are back", func() bool { return cs.connectsLocked(3) })

	cl.nodes[1].mustPublish(cs.history, publication{Publisher: 1, Count: 20, Targets: targets()})
	cs.settleAll(cl.nodes[0], patience)
	cs.judge()
	cs.allRecovered(2 * size)
	if gone := cl.nodes[0].stats().Gone; gone["session taken over"] == size {
		t.Errorf("the former holder had nothing to say: its sockets went for %v", gone)
	}
	for _, n := range cl.nodes {
		if expired := n.stats().Expired; len(expired) > 0 {
			t.Errorf("%d sessions expired on %s, and their clients are connected", len(expired), n.name)
		}
	}
}

// TestTenCutsInARow: ten cuts as fast as the client comes back, in live traffic; and ten in the middle of a replay.
func TestTenCutsInARow(t *testing.T) {
	const size = 24
	cl := newCluster(t, 3)
	cs := newClients(t, 2)
	cs.connectAll(size, cl.alive(), order{"roam": true})
	cs.join(numbers(size), rooms)
	stop := publishing(t, cl.nodes[0], cs.history, 1, 300)
	for round := range 10 {
		for k := range size {
			cs.cut([]string{"reset", "close", "half"}[(round+k)%3], nil, k)
		}
		cs.await(patience, fmt.Sprintf("all are back from cut %d", round+1), func() bool {
			for _, k := range cs.byNum {
				if k.connects != round+2 || !k.connected {
					return false
				}
			}
			return true
		})
	}
	stop()
	cs.settleAll(cl.nodes[0], patience)
	cs.judge()
	cs.allRecovered(10 * size)
	if t.Failed() {
		return
	}

	cs.away("reset", numbers(size)...)
	cl.nodes[1].mustPublish(cs.history, publication{Publisher: 2, Count: 3000, Pad: 500})
	// A client reads about 100 of these at once, which it still gets when it has cut its connection at the first.
	cs.tellAll(numbers(size), order{"c": "cuts", "cuts": []int{1, 50, 150, 77, 110, 2, 40, 133, 90, 123}})
	cs.back("", numbers(size)...)
	cs.await(patience, "all have the 3,000 events", func() bool {
		for _, k := range cs.byNum {
			if !k.connected || k.connects < 22 {
				return false
			}
		}
		return true
	})
	cs.settleAll(cl.nodes[2], patience)
	cs.judge()
	cs.allRecovered(21 * size)
	replayed := 0
	for _, n := range cl.nodes {
		replayed += n.stats().Replayed
	}
	back, recovered := cs.reconnections()
	t.Logf("SUMMARY %s: %d clients, %d reconnections, %d recovered, %d events replayed, %d receipts", t.Name(), size, back, recovered, replayed, cs.history.Receipts())
}

// TestNotRecoveredSaysWhy: where nothing can be proven the client gets a new session, and the application the reason.
func TestNotRecoveredSaysWhy(t *testing.T) {
	cl := newCluster(t, 2)
	cs := newClients(t, 1)
	cs.connectAll(3, cl.alive()[:1], nil)
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 1, Count: 1})
	cs.await(patience, "the first event", func() bool { return cs.byNum[0].ticks == 1 && cs.byNum[1].ticks == 1 && cs.byNum[2].ticks == 1 })
	before := cs.offset(0)
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 1, First: 1, Count: 1})
	cs.await(patience, "the second event", func() bool { return cs.byNum[0].ticks == 2 })
	cs.open(3, cl.nodes[0].url, nil) // its session begins after the second event
	cs.await(patience, "client 3 connects", func() bool { return cs.byNum[3].connected })
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 1, First: 2, Count: 1})
	cs.await(patience, "the third event", func() bool { return cs.byNum[0].ticks == 3 && cs.byNum[3].ticks == 1 })
	cs.away("reset", 0, 1, 2, 3)
	pid := func(k int) string { return cs.get(k).pid }
	good, err := adapter.ParseOffset(cs.offset(0))
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
		for _, n := range cl.nodes {
			k++
			cs.open(k, n.url, order{"auth": auth})
			cs.await(patience, name, func() bool { return cs.byNum[k].connected })
			if me := cs.whoami(k); me.Recovered || me.Reason != want {
				t.Errorf("%s: recovered %v, reason %q; want %q", name, me.Recovered, me.Reason, want)
			}
			if me := cs.get(k); me.pid == auth["pid"] {
				t.Errorf("%s: the client has the pid of the old session", name)
			}
		}
	}
	refused("a pid that never was", "unknown session", map[string]string{"pid": "nosuchsession0000000", "offset": good.String()})
	refused("a pid of strange letters", "unknown session", map[string]string{"pid": "'; drop table sessions; --\u0000\U0001f4a9"})
	refused("an offset of another log", "offset of another log", map[string]string{"pid": pid(0), "offset": changed(func(o *adapter.Offset) { o.Log ^= 1 })})
	refused("a record that the log does not have", "offset of another log", map[string]string{"pid": pid(0), "offset": changed(func(o *adapter.Offset) { o.Check ^= 1 })})
	refused("an offset ahead of the log", "offset ahead of the log", map[string]string{"pid": pid(0), "offset": changed(func(o *adapter.Offset) { o.Position += 1 << 30 })})
	refused("an offset from before the session", "offset before the session", map[string]string{"pid": pid(3), "offset": before})
	for _, bad := range []string{"x", "12345-0", good.String() + "A", good.String()[:21] + "!", string(make([]byte, 2000))} {
		refused(fmt.Sprintf("the offset %.30q", bad), "malformed offset", map[string]string{"pid": pid(0), "offset": bad})
	}
	refused("another namespace's session", "unknown session", map[string]string{"pid": "also-not-there"})

	// What was refused was not touched.
	cs.comeBack(cl.nodes[1].url, 0)
	if me := cs.whoami(0); !me.Recovered {
		t.Errorf("after all that, the session's own client is not recovered: %q", me.Reason)
	}

	// Trimmed: the client had received something, something else was addressed to it, and the log forgot that.
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 2, Count: 10})
	cs.await(patience, "both nodes have read the log", func() bool { return cs.byNum[k].ticks == 10 && cs.byNum[k-1].ticks == 10 })
	cl.trim(t, cl.head(t)-1)
	cs.comeBack(cl.nodes[1].url, 1)
	if me := cs.whoami(1); me.Recovered || me.Reason != "events no longer kept" {
		t.Errorf("trimmed: recovered %v, reason %q", me.Recovered, me.Reason)
	}

	// Rejected: the application does not want the client back, and the session is over.
	cs.away("reset", 0)
	cs.tell(0, order{"c": "auth", "k": 0, "auth": map[string]string{"refuse": "banned"}})
	cs.back(cl.nodes[0].url, 0)
	cs.await(patience, "the gate refuses", func() bool { return len(cs.byNum[0].errors) > 0 })
	cs.tell(0, order{"c": "auth", "k": 0, "auth": map[string]string{}})
	cs.comeBack(cl.nodes[0].url, 0)
	if me := cs.whoami(0); me.Recovered || me.Reason != "unknown session" {
		t.Errorf("rejected: recovered %v, reason %q", me.Recovered, me.Reason)
	}
}

// TestExpiredSaysWhy: a client that was away for longer than the window gets a new session, and one node of the
// cluster is told once that the old one is over.
func TestExpiredSaysWhy(t *testing.T) {
	const size = 10
	cl := newCluster(t, 2, "-window", "500ms", "-retention", "20s", "-lease", "6s")
	cs := newClients(t, 1)
	cs.connectAll(size, cl.alive()[:1], nil)
	var ids []string
	reasons := make(map[string]int)
	// The sessions are swept at intervals, here of 5 s: who comes before that finds an expired one, later none.
	for range 20 {
		before := len(ids)
		for k := range size {
			ids = append(ids, cs.get(k).id)
		}
		cs.away("reset", numbers(size)...)
		if !eventually(patience, func() bool {
			var left int
			cl.query(t, &left, "select count(*) from %s.sessions where node is not null or expires_at > clock_timestamp()")
			return left == 0
		}) {
			t.Fatal("the window does not end")
		}
		for k := range size {
			cs.comeBack(cl.nodes[k%2].url, k)
		}
		for k := range size {
			me := cs.whoami(k)
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
	told := func() (all []string) {
		for _, n := range cl.nodes {
			all = append(all, n.stats().Expired...)
		}
		slices.Sort(all)
		return all
	}
	slices.Sort(ids)
	if !eventually(patience, func() bool { return len(told()) >= len(ids) }) || !slices.Equal(told(), ids) {
		t.Errorf("told of the end of %q, want %q", told(), ids)
	}
}

func (c *clients) offset(k int) string {
	c.t.Helper()
	c.tell(k, order{"c": "state", "k": k})
	c.sync()
	return c.get(k).offset
}

// publishing lets a node emit at a steady rate until the returned function is called, which waits for the results.
func publishing(t *testing.T, n *node, h *history.History, publisher, perSecond int) (stop func()) {
	t.Helper()
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		batch := max(perSecond/5, 1)
		for first := 0; ; first += batch {
			select {
			case <-quit:
				return
			default:
			}
			p := publication{Publisher: publisher, First: first, Count: batch, Targets: targets(), PerSecond: perSecond}
			if o := n.publish(t.Context(), h, p); o.acknowledged != batch {
				t.Errorf("publish: %+v", o)
				return
			}
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { close(quit) }); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// eventually waits until ok, which asks other processes.
func eventually(patience time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}
