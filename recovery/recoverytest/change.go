package recoverytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func changeOrder(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	var rooms []recovery.RoomInterval
	in := make(map[string]int) // index in rooms
	data := make(map[string]json.RawMessage)
	var outcomes []*adapter.Receipt
	for i := range 400 {
		if i%10 == 0 {
			n.emit(t)
		}
		change := recovery.Change{At: n.position()}
		room := fmt.Sprintf("room%d", rng.IntN(5))
		if at, member := in[room]; member {
			change.Leave = []string{room}
			rooms[at].Ended, rooms[at].Left = true, change.At
			delete(in, room)
		} else {
			change.Join = []string{room}
			rooms = slices.DeleteFunc(rooms, func(s recovery.RoomInterval) bool { return s.Room == room && s.Joined == change.At })
			rooms = append(rooms, recovery.RoomInterval{Room: room, Joined: change.At})
			clear(in)
			for j, interval := range rooms {
				if !interval.Ended {
					in[interval.Room] = j
				}
			}
		}
		key := fmt.Sprintf("key%d", rng.IntN(4))
		if rng.IntN(3) == 0 {
			change.Data = map[string]json.RawMessage{key: nil}
			delete(data, key)
		} else {
			change.Data = map[string]json.RawMessage{key: json.RawMessage(strconv.Itoa(i))}
			data[key] = change.Data[key]
		}
		outcomes = append(outcomes, n.store.Change(s.Key, change))
	}
	for _, o := range outcomes {
		if err := o.Wait(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	got := n.resume(t, s.PIDHash, "")
	sameRooms(t, real(got.Rooms), real(rooms))
	sameData(t, got.Data, data)
}

// real omits intervals that ended where they began: they include no position, and a
// store need not keep them.
func real(intervals []recovery.RoomInterval) []recovery.RoomInterval {
	return slices.DeleteFunc(slices.Clone(intervals), func(s recovery.RoomInterval) bool { return s.Ended && s.Left == s.Joined })
}

func changeRejoinAtOnePosition(t *testing.T, c Cluster) {
	n := c.start(t)
	n.emit(t)
	s := n.open(t, nil)
	at := n.position()
	n.change(t, s.Key, recovery.Change{At: at, Join: []string{"r"}})
	n.change(t, s.Key, recovery.Change{At: at, Leave: []string{"r"}})
	n.change(t, s.Key, recovery.Change{At: at, Join: []string{"r"}})
	d := adapter.Delivery{
		Envelope: &adapter.Envelope{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"r"}}},
		Offset:   n.emit(t),
	}
	if got := n.resume(t, s.PIDHash, ""); !got.Matches(&d) {
		t.Errorf("not in the room: %+v", got.Rooms)
	}
}

func changeNotBlocking(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	var last *adapter.Receipt
	for i := range 500 {
		last = n.store.Change(s.Key, recovery.Change{Data: map[string]json.RawMessage{"k": json.RawMessage(strconv.Itoa(i))}})
	}
	end := n.store.End(s.Key, recovery.Release{Park: true, At: n.position()})
	if err := errors.Join(last.Wait(within(t)), end.Wait(within(t))); err != nil {
		t.Fatal(err)
	}
	if got := n.resume(t, s.PIDHash, ""); string(got.Data["k"]) != "499" {
		t.Errorf("data %s", got.Data["k"])
	}
}

func resumeParkedRepeatedly(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, func(s *recovery.Session) { s.Rooms = []recovery.RoomInterval{{Room: "a", Joined: s.Opened}} })
	key, last := s.Key, adapter.Offset{}
	for round := range 10 {
		n.park(t, key, last)
		if err := n.store.Change(key, recovery.Change{Join: []string{"x"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
			t.Fatalf("Change of a parked session: %v", err)
		}
		missed := n.emit(t)
		got := n.resume(t, s.PIDHash, last.String())
		if got.From >= missed.Position || got.From < last.Position || got.Last != last || got.OwnedElsewhere {
			t.Fatalf("round %d: from %d, last %v, OwnedElsewhere %v", round, got.From, got.Last, got.OwnedElsewhere)
		}
		sameRooms(t, got.Rooms, s.Rooms)
		key, last = got.Key, missed
	}
}

func trimQuietClient(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	last := n.emit(t)
	c.Trim(t)
	n.sync(t)
	n.park(t, s.Key, last)
	other := last
	other.Position--
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: other.String()}, recovery.ErrTrimmed)
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"}, recovery.ErrTrimmed)
	at := n.position()
	n.emit(t)
	if got := n.resume(t, s.PIDHash, last.String()); got.From != at || got.Last != last {
		t.Errorf("from %d, last %v; served up to %d", got.From, got.Last, at)
	}
}

func trimNoEventReceived(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, func(s *recovery.Session) { s.InitialOffset = "of another server" })
	n.emit(t) // not addressed to the session, as its node reports below
	c.Trim(t)
	n.sync(t)
	n.park(t, s.Key, adapter.Offset{})
	at := n.position()
	n.emit(t)
	for _, offset := range []string{"", s.InitialOffset} {
		got := n.resume(t, s.PIDHash, offset)
		if got.From != at || got.Last != (adapter.Offset{}) {
			t.Errorf("from %d, last %v; served up to %d", got.From, got.Last, at)
		}
		n.parkAt(t, got.Key, at)
	}
}

func (n *node) parkAt(t *testing.T, k recovery.Key, at adapter.Position) {
	t.Helper()
	if err := n.store.End(k, recovery.Release{Park: true, At: at}).Wait(within(t)); err != nil {
		t.Fatalf("End: %v", err)
	}
}

// sync waits until the node has received what Trim published.
func (n *node) sync(t *testing.T) {
	t.Helper()
	if err := n.log.WaitDelivered(within(t)); err != nil {
		t.Fatalf("WaitDelivered: %v", err)
	}
}

func expiryWindow(t *testing.T, c Cluster) {
	n := c.start(t)
	n.emit(t)
	s := n.open(t, func(s *recovery.Session) {
		s.Window = 50 * time.Millisecond
		s.Rooms = []recovery.RoomInterval{{Room: "a\x00", Joined: s.Opened}}
		s.Data = map[string]json.RawMessage{"k": json.RawMessage(`"\u0000"`)}
	})
	connected := n.open(t, func(s *recovery.Session) { s.Window = time.Millisecond })
	n.park(t, s.Key, adapter.Offset{})
	time.Sleep(60 * time.Millisecond) // the window, by the clock of the store
	_, err := n.store.Resume(within(t), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"})
	if !errors.Is(err, recovery.ErrExpired) && !errors.Is(err, recovery.ErrUnknown) {
		t.Errorf("Resume: %v", err)
	}
	for deadline := time.Now().Add(patience); len(n.ended()) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	ended := n.ended()
	if len(ended) != 1 || ended[0].PIDHash != s.PIDHash || ended[0].ID != s.ID {
		t.Fatalf("Expired was called for %v, want %s", ended, s.PIDHash)
	}
	sameRooms(t, ended[0].Rooms, s.Rooms)
	sameData(t, ended[0].Data, s.Data)
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"}, recovery.ErrUnknown)
	n.change(t, connected.Key, recovery.Change{At: n.position(), Join: []string{"r"}}) // was never parked
}

func resumeConcurrent(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	var mu sync.Mutex
	epochs := make(map[int64]bool)
	newest := int64(0)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := n.store.Resume(t.Context(), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"})
			if err != nil {
				t.Errorf("Resume: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if epochs[got.Epoch] {
				t.Errorf("two requests got epoch %d", got.Epoch)
			}
			epochs[got.Epoch] = true
			newest = max(newest, got.Epoch)
		})
	}
	wg.Wait()
	for epoch := range epochs {
		err := n.store.Change(recovery.Key{PIDHash: s.PIDHash, Epoch: epoch}, recovery.Change{Join: []string{"r"}}).Wait(within(t))
		if (err == nil) != (epoch == newest) {
			t.Errorf("epoch %d of %d: %v", epoch, newest, err)
		}
	}
}

func appliedPosition(t *testing.T, c Cluster) {
	n := c.start(t)
	n.emit(t)
	s := n.open(t, nil)
	n.emit(t)
	got := n.resume(t, s.PIDHash, "")
	if got.Applied != s.Opened {
		t.Errorf("new session: Applied %d, opened at %d", got.Applied, s.Opened)
	}
	// An operation of the log: the change has its position.
	at := n.emit(t)
	n.change(t, got.Key, recovery.Change{At: at.Position, Join: []string{"r"}})
	if got = n.resume(t, s.PIDHash, ""); got.Applied >= at.Position {
		t.Errorf("Applied %d, want less than %d before a checkpoint", got.Applied, at.Position)
	}
	if len(got.Rooms) != 1 || got.Rooms[0].Joined != at.Position {
		t.Errorf("rooms %+v, joined at %d", got.Rooms, at.Position)
	}
	last := n.emit(t)
	n.park(t, got.Key, last)
	if got = n.resume(t, s.PIDHash, last.String()); got.Applied != last.Position {
		t.Errorf("parked session: Applied %d, want %d", got.Applied, last.Position)
	}
}
