package recoverytest

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func bindTwice(t *testing.T, c Cluster) {
	n := c.start(t)
	if err := n.store.Bind(n); err == nil {
		t.Error("a second Bind was accepted")
	}
}

func resumeAllFields(t *testing.T, c Cluster) {
	n := c.start(t)
	n.emit(t)
	want := n.open(t, func(s *recovery.Session) {
		s.InitialOffset = "AAAA"
		s.Window = 90 * time.Second
		s.Rooms = []recovery.RoomInterval{{Room: "a", Joined: s.Opened}, {Room: "b", Joined: s.Opened}}
		s.Data = map[string]json.RawMessage{"k": json.RawMessage(`{"x":"\u0000"}`), "": json.RawMessage(`null`)}
	})
	got := n.resume(t, want.PIDHash, "")
	if got.PIDHash != want.PIDHash || got.ID != want.ID || got.Namespace != want.Namespace || got.Window != want.Window || got.Opened != want.Opened || got.InitialOffset != want.InitialOffset {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.Epoch <= want.Epoch {
		t.Errorf("epoch %d after %d", got.Epoch, want.Epoch)
	}
	sameRooms(t, got.Rooms, want.Rooms)
	sameData(t, got.Data, want.Data)
	if got.From != want.Opened || got.Last != (adapter.Offset{}) || got.OwnedElsewhere {
		t.Errorf("from %d, last %v, OwnedElsewhere %v", got.From, got.Last, got.OwnedElsewhere)
	}
}

func resumeAnyStrings(t *testing.T, c Cluster) {
	n := c.start(t)
	weird := []string{"", "\x00", "a\x00b", "\xff\xfe", "\x7fhex:00", "\x7fsha256:00", "é", "'; drop table", `{"a"}`, `\x00`, "NULL", "a,b", strings.Repeat("r", 2000)}
	s := n.open(t, func(s *recovery.Session) {
		s.ID = "sid\x00\xff"
		s.InitialOffset = strings.Repeat("\xff\x00x", 5000)
		s.Data = make(map[string]json.RawMessage)
		for _, w := range weird {
			s.Rooms = append(s.Rooms, recovery.RoomInterval{Room: w, Joined: s.Opened})
			value, err := json.Marshal(w)
			if err != nil {
				t.Fatal(err)
			}
			s.Data[w] = value
		}
	})
	got := n.resume(t, s.PIDHash, s.InitialOffset)
	if got.ID != s.ID {
		t.Errorf("id %q, want %q", got.ID, s.ID)
	}
	sameRooms(t, got.Rooms, s.Rooms)
	sameData(t, got.Data, s.Data)
}

func sameRooms(t *testing.T, got, want []recovery.RoomInterval) {
	t.Helper()
	order := func(a, b recovery.RoomInterval) int {
		if c := strings.Compare(a.Room, b.Room); c != 0 {
			return c
		}
		return int(a.Joined - b.Joined)
	}
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if !slices.Equal(got, want) {
		t.Errorf("rooms %+v, want %+v", got, want)
	}
}

func sameData(t *testing.T, got, want map[string]json.RawMessage) {
	t.Helper()
	if !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
		t.Errorf("data %q, want %q", got, want)
	}
}

func resumeFromOffset(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	var offsets []adapter.Offset
	for range 5 {
		offsets = append(offsets, n.emit(t))
	}
	for _, o := range offsets {
		if got := n.resume(t, s.PIDHash, o.String()); got.From != o.Position || got.Last != o {
			t.Errorf("at %v: from %d, last %v", o, got.From, got.Last)
		}
	}
}

func resumeFromOpening(t *testing.T, c Cluster) {
	n := c.start(t)
	before := n.emit(t)
	for _, initial := range []string{"", "offset of another server", before.String()} {
		s := n.open(t, func(s *recovery.Session) { s.InitialOffset = initial })
		n.emit(t)
		for _, offset := range []string{"", initial} {
			got := n.resume(t, s.PIDHash, offset)
			if got.From != s.Opened || got.Last != (adapter.Offset{}) {
				t.Errorf("initial offset %q, presented %q: from %d, last %v", initial, offset, got.From, got.Last)
			}
		}
	}
}

func refusalReasons(t *testing.T, c Cluster) {
	n := c.start(t)
	early := n.emit(t)
	n.emit(t)
	s := n.open(t, nil)
	o := n.emit(t)
	foreign, lost, ahead, distant := o, o, o, o
	foreign.Log++
	lost.Check++
	ahead.Position++
	distant.Position = 1 << 62
	for _, row := range []struct {
		request recovery.ResumeRequest
		reason  error
	}{
		{recovery.ResumeRequest{PIDHash: "nobody", Namespace: "/"}, recovery.ErrUnknown},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/other"}, recovery.ErrUnknown},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: ""}, recovery.ErrUnknown},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: "garbage"}, recovery.ErrMalformed},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: "\x00\xff"}, recovery.ErrMalformed},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: strings.Repeat("A", 1<<20)}, recovery.ErrMalformed},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: ahead.String()}, recovery.ErrAhead},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: distant.String()}, recovery.ErrAhead},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: foreign.String()}, recovery.ErrForeign},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: lost.String()}, recovery.ErrForeign},
		{recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: early.String()}, recovery.ErrEarly},
	} {
		n.refused(t, row.request, row.reason)
	}
	c.Trim(t)
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"}, recovery.ErrTrimmed)
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: early.String()}, recovery.ErrEarly)
}

func refusalGarbage(t *testing.T, c Cluster) {
	n := c.start(t)
	for _, pid := range []string{"", "\x00", "a\x00", "\xff\xfe", "'", `\`, "{}", "{\"a\",NULL}", "NULL", strings.Repeat("p", 1<<20), strings.Repeat("\xff", 1<<16)} {
		n.refused(t, recovery.ResumeRequest{PIDHash: pid, Namespace: "/"}, recovery.ErrUnknown)
		n.refused(t, recovery.ResumeRequest{PIDHash: pid, Namespace: pid, Offset: pid}, recovery.ErrUnknown)
		k := recovery.Key{PIDHash: pid, Epoch: 1}
		if err := n.store.Change(k, recovery.Change{Join: []string{"r"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
			t.Errorf("Change of %.20q: %v", pid, err)
		}
		if err := n.store.End(k, recovery.Release{}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
			t.Errorf("End of %.20q: %v", pid, err)
		}
	}
}

func refusalSessionUnchanged(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Offset: "garbage"}, recovery.ErrMalformed)
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/x"}, recovery.ErrUnknown)
	n.change(t, s.Key, recovery.Change{At: n.position(), Join: []string{"r"}}) // still owned
}

func epochStale(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	again := n.resume(t, s.PIDHash, "")
	for _, k := range []recovery.Key{s.Key, {PIDHash: s.PIDHash, Epoch: again.Epoch + 1}, {PIDHash: s.PIDHash}} {
		if err := n.store.Change(k, recovery.Change{Join: []string{"r"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
			t.Errorf("Change with epoch %d: %v", k.Epoch, err)
		}
		for _, e := range []recovery.Release{{}, {Park: true}} {
			if err := n.store.End(k, e).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
				t.Errorf("End with epoch %d: %v", k.Epoch, err)
			}
		}
	}
	n.change(t, again.Key, recovery.Change{At: n.position(), Join: []string{"mine"}})
	sameRooms(t, n.resume(t, s.PIDHash, "").Rooms, []recovery.RoomInterval{{Room: "mine", Joined: n.position()}})
}

func resumeEndedSession(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, func(s *recovery.Session) {
		s.Rooms = []recovery.RoomInterval{{Room: "a", Joined: s.Opened}}
		s.Data = map[string]json.RawMessage{"k": json.RawMessage(`1`)}
	})
	if err := n.store.End(s.Key, recovery.Release{}).Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	n.refused(t, recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"}, recovery.ErrUnknown)
	if err := n.store.Change(s.Key, recovery.Change{Join: []string{"r"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
		t.Errorf("Change: %v", err)
	}
	if ended := n.ended(); len(ended) > 0 {
		t.Error("Expired was called for a session that did not expire")
	}
}
