package recoverytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// red returns the topic of the cases.
func red() recovery.PresenceTopic {
	return recovery.PresenceTopic{Namespace: "/", PresenceKey: recovery.PresenceKey{Event: "online", Room: "red"}}
}

// presence returns the store, or skips the case.
func (n *node) presence(t *testing.T) recovery.PresenceStore {
	t.Helper()
	store, ok := n.store.(recovery.PresenceStore)
	if !ok {
		t.Skip("the implementation has no presence")
	}
	return store
}

// enters makes a change of presence; without a state the session leaves.
func enters(state string) recovery.Change {
	change := map[recovery.PresenceKey]json.RawMessage{red().PresenceKey: nil}
	if state != "" {
		change[red().PresenceKey] = json.RawMessage(state)
	}
	return recovery.Change{Presence: change}
}

// text is members in a form to compare.
func text(members []recovery.PresenceMember) string {
	var b strings.Builder
	for _, m := range members {
		fmt.Fprintf(&b, "%s=%s ", m.ID, m.State)
	}
	return b.String()
}

func sorted(members ...string) string {
	slices.Sort(members)
	return strings.Join(members, "")
}

func (n *node) wantMembers(t *testing.T, want ...string) {
	t.Helper()
	got, err := n.presence(t).Members(within(t), red())
	if err != nil {
		t.Fatal(err)
	}
	if text(got) != sorted(want...) {
		t.Errorf("members %q, want %q", text(got), want)
	}
}

// announcements returns the announcements for watchers that were delivered so far.
func (n *node) announcements(t *testing.T) (all []recovery.PresenceAnnouncement) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	watchers := adapter.WatchRequest{Event: red().Event, Room: red().Room}.Watchers()
	for _, d := range n.announced {
		if d.Namespace != red().Namespace || !slices.Equal(d.Audience.Rooms, []string{watchers}) {
			continue
		}
		var event [2]json.RawMessage
		var a recovery.PresenceAnnouncement
		if err := errors.Join(json.Unmarshal(d.Payload, &event), json.Unmarshal(event[1], &a)); err != nil || string(event[0]) != `"online"` || a.Room != red().Room {
			t.Fatalf("announcement %s: %v", d.Payload, err)
		}
		all = append(all, a)
	}
	return all
}

// A fold is what a watcher knows: the announced state at each version.
type fold struct {
	version int64
	members map[string]string
	at      map[int64]string
}

func (f *fold) add(t *testing.T, a *recovery.PresenceAnnouncement) {
	t.Helper()
	if f.members == nil {
		f.members, f.at = make(map[string]string), map[int64]string{0: ""}
	}
	if a.Version != f.version+1 || len(a.Entered)+len(a.Updated)+len(a.Left) == 0 {
		t.Fatalf("announcement %+v after version %d", a, f.version)
	}
	f.version = a.Version
	for _, m := range a.Entered {
		if _, in := f.members[m.ID]; in {
			t.Fatalf("%s entered in version %d, and was a member", m.ID, a.Version)
		}
		f.members[m.ID] = string(m.State)
	}
	for _, m := range a.Updated {
		if was, in := f.members[m.ID]; !in || was == string(m.State) {
			t.Fatalf("%s was updated in version %d from %q to %s", m.ID, a.Version, was, m.State)
		}
		f.members[m.ID] = string(m.State)
	}
	for _, id := range a.Left {
		if _, in := f.members[id]; !in {
			t.Fatalf("%s left in version %d, and was no member", id, a.Version)
		}
		delete(f.members, id)
	}
	f.at[f.version] = f.text()
}

func (f *fold) text() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(f.members)) {
		fmt.Fprintf(&b, "%s=%s ", id, f.members[id])
	}
	return b.String()
}

func foldOf(t *testing.T, announcements []recovery.PresenceAnnouncement) *fold {
	t.Helper()
	f := &fold{members: make(map[string]string), at: map[int64]string{0: ""}}
	for i := range announcements {
		f.add(t, &announcements[i])
	}
	return f
}

// waitFold waits until the announcements lead to these members.
func (n *node) waitFold(t *testing.T, want string) *fold {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		f := foldOf(t, n.announcements(t))
		if f.text() == want {
			return f
		}
		if time.Now().After(deadline) {
			t.Fatalf("announced members %q, want %q", f.text(), want)
		}
	}
}

// A session is a member until it leaves, ends or expires; the owner and a parked session do
// not matter.
func presenceLife(t *testing.T, c Cluster) {
	n := c.start(t)
	a := n.open(t, func(s *recovery.Session) {
		s.Presence = map[recovery.PresenceKey]json.RawMessage{red().PresenceKey: json.RawMessage(`{"n":"\u0000"}`)}
	})
	b := n.open(t, func(s *recovery.Session) { s.Window = 50 * time.Millisecond })
	x := n.open(t, nil)
	n.change(t, b.Key, enters(`2`))
	n.change(t, x.Key, enters(`3`))
	one, two, three := a.ID+`={"n":"\u0000"} `, b.ID+"=2 ", x.ID+"=3 "
	n.wantMembers(t, one, two, three)
	blue := red()
	blue.Room = "blue"
	if members, err := n.presence(t).Members(within(t), blue); err != nil || len(members) > 0 {
		t.Errorf("another room: %v, %v", members, err)
	}
	n.park(t, a.Key, adapter.Offset{})
	n.wantMembers(t, one, two, three)
	back := n.resume(t, a.PIDHash, "")
	if got := string(back.Presence[red().PresenceKey]); got != `{"n":"\u0000"}` || len(back.Presence) != 1 {
		t.Errorf("resumed with presence %v", back.Presence)
	}
	if err := n.store.Change(a.Key, enters(`9`)).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
		t.Errorf("change with a stale epoch: %v", err)
	}
	n.wantMembers(t, one, two, three)
	n.change(t, x.Key, enters(""))
	n.change(t, x.Key, enters("")) // it has left already
	n.wantMembers(t, one, two)
	n.waitFold(t, sorted(one, two)) // so that the next one is the last of all
	n.park(t, b.Key, adapter.Offset{})
	n.waitFold(t, one)
	n.wantMembers(t, one)
	if err := n.store.End(back.Key, recovery.Release{}).Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	n.wantMembers(t)
	n.waitFold(t, "")
}

// Sessions of several nodes change all the time. Every announcement is the difference between
// two states, and every list that is read meanwhile is the announced state of its version.
func presenceExact(t *testing.T, c Cluster) {
	nodes := []*node{c.start(t)}
	for len(nodes) < min(c.Nodes, 3) {
		nodes = append(nodes, c.start(t))
	}
	nodes[0].presence(t)
	anchor := nodes[0].open(t, nil)
	nodes[0].change(t, anchor.Key, enters(`"anchor"`)) // versions are consecutive while there is a member
	x := exactRun{lists: make(map[int64]string), last: map[string]string{anchor.ID: `"anchor"`}}
	var working sync.WaitGroup
	for w := range 9 {
		n, rng := nodes[w%len(nodes)], rand.New(rand.NewPCG(uint64(w), 3))
		if w < 3 {
			working.Go(func() { x.readLists(t, n) })
			continue
		}
		working.Go(func() {
			for range 40 {
				x.live(t, n, rng)
			}
		})
	}
	working.Wait()
	want := (&fold{members: x.last}).text()
	for _, n := range nodes {
		f := n.waitFold(t, want)
		n.wantMembers(t, want)
		for version, list := range x.lists {
			if at, known := f.at[version]; !known || at != list {
				t.Errorf("list of version %d: %q\nannounced: %q", version, list, at)
			}
		}
	}
	t.Logf("%d versions, %d of them in lists", nodes[0].waitFold(t, want).version, len(x.lists))
}

// An exactRun is what the goroutines of presenceExact have seen.
type exactRun struct {
	mu    sync.Mutex
	lists map[int64]string  // by version
	last  map[string]string // the states of the sessions that are members at the end
}

// live opens a session, changes its presence, and ends it perhaps.
func (x *exactRun) live(t *testing.T, n *node, rng *rand.Rand) {
	s := n.open(t, nil)
	state := ""
	for i := range rng.IntN(12) {
		state = ""
		if rng.IntN(4) > 0 {
			state = strconv.Itoa(i)
		}
		receipt := n.store.Change(s.Key, enters(state))
		if rng.IntN(2) == 0 {
			if err := receipt.Wait(t.Context()); err != nil {
				t.Errorf("Change: %v", err)
			}
		}
		time.Sleep(time.Duration(rng.IntN(int(20 * time.Millisecond))))
	}
	end := n.store.Change(s.Key, recovery.Change{})
	if rng.IntN(3) == 0 {
		end, state = n.store.End(s.Key, recovery.Release{}), ""
	}
	if err := end.Wait(t.Context()); err != nil {
		t.Errorf("End: %v", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if state != "" {
		x.last[s.ID] = state
	}
}

// readLists reads the announced state of 1,000 moments.
func (x *exactRun) readLists(t *testing.T, n *node) {
	for range 1000 {
		list, err := n.presence(t).Announced(t.Context(), red())
		if err != nil {
			t.Errorf("Announced: %v", err)
			return
		}
		x.mu.Lock()
		if was, known := x.lists[list.Version]; known && was != text(list.Members) {
			t.Errorf("two lists of version %d: %q and %q", list.Version, was, text(list.Members))
		}
		x.lists[list.Version] = text(list.Members)
		x.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// A list contains what a node was told before it asked.
func presenceListIncludesDelivered(t *testing.T, c Cluster) {
	n := c.start(t)
	store := n.presence(t)
	s := n.open(t, nil)
	for i := range 5 {
		n.change(t, s.Key, enters(strconv.Itoa(i)))
		f := n.waitFold(t, fmt.Sprintf("%s=%d ", s.ID, i))
		list, err := store.Announced(within(t), red())
		if err != nil || list.Version < f.version {
			t.Fatalf("list of version %d after %d: %v", list.Version, f.version, err)
		}
	}
}

// Many changes at once are announced in a few events of bounded size.
func presenceManyAtOnce(t *testing.T, c Cluster) {
	n := c.start(t)
	n.presence(t)
	const sessions = 1200
	var receipts []*adapter.Receipt
	keys := make([]recovery.Key, sessions)
	for i := range sessions {
		s := n.session()
		s.Presence = map[recovery.PresenceKey]json.RawMessage{red().PresenceKey: json.RawMessage(`{}`)}
		keys[i] = s.Key
		receipts = append(receipts, n.store.Open(s))
	}
	for _, r := range receipts {
		if err := r.Wait(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	members, err := n.presence(t).Members(within(t), red())
	if err != nil || len(members) != sessions {
		t.Fatalf("%d members, %v", len(members), err)
	}
	before := n.waitFold(t, text(members)).version
	for _, k := range keys {
		receipts = append(receipts, n.store.End(k, recovery.Release{}))
	}
	for _, r := range receipts {
		if err := r.Wait(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	after := n.waitFold(t, "").version
	for _, a := range n.announcements(t) {
		if changes := len(a.Entered) + len(a.Updated) + len(a.Left); changes > 500 {
			t.Errorf("%d changes in one announcement", changes)
		}
	}
	t.Logf("announcements: %d, %d", before, after-before)
}
