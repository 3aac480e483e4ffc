package recovery_test

import (
	"slices"
	"testing"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func operation(t *testing.T, k adapter.Kind, p adapter.Position, from []string, rooms ...string) *adapter.Delivery {
	t.Helper()
	payload, err := adapter.RoomList(rooms)
	if err != nil {
		t.Fatal(err)
	}
	return &adapter.Delivery{
		Envelope: &adapter.Envelope{Kind: k, Namespace: "/", Audience: adapter.Audience{Rooms: from}, Payload: payload},
		Offset:   adapter.Offset{Position: p},
	}
}

// A killed node may have stored only some of the operations that it had applied. A node
// that applies them again gets the same rooms.
func TestSession_Apply_Twice(t *testing.T) {
	t.Parallel()
	log := []*adapter.Delivery{
		operation(t, adapter.Join, 10, nil, "a", "b"),
		operation(t, adapter.Leave, 20, []string{"a"}, "b"),
		operation(t, adapter.Join, 30, []string{"b"}, "never"),
		operation(t, adapter.Join, 40, []string{"a"}, "b", "c", "c"),
		operation(t, adapter.Leave, 50, []string{"self"}, "a"),
		operation(t, adapter.Join, 60, []string{"a"}, "never"),
	}
	want := []recovery.RoomInterval{
		{Room: "a", Joined: 10, Ended: true, Left: 50},
		{Room: "b", Joined: 10, Ended: true, Left: 20},
		{Room: "b", Joined: 40},
		{Room: "c", Joined: 40},
	}
	for written := range len(log) + 1 {
		for again := range written + 1 { // operations after Applied that are in Rooms already
			s := recovery.Session{ID: "self", Namespace: "/", Opened: 5, Applied: 5}
			for _, d := range log[:written] {
				s.Apply(d)
			}
			s.Applied = 5
			if again > 0 {
				s.Applied = log[again-1].Offset.Position
			}
			for _, d := range log {
				if c, over := s.Apply(d); over || d.Offset.Position <= log[max(again-1, 0)].Offset.Position && again > 0 && !c.Empty() {
					t.Errorf("written %d, again %d: %+v, over %v", written, again, c, over)
				}
			}
			slices.SortFunc(s.Rooms, func(a, b recovery.RoomInterval) int {
				if a.Room != b.Room {
					return int(a.Room[0]) - int(b.Room[0])
				}
				return int(a.Joined - b.Joined)
			})
			if !slices.Equal(s.Rooms, want) {
				t.Fatalf("written %d, again from %d: %+v", written, again, s.Rooms)
			}
		}
	}
}

// A change that a socket made after an operation is kept when the operation is applied
// again.
func TestSession_Apply_AfterLaterChange(t *testing.T) {
	t.Parallel()
	s := recovery.Session{ID: "self", Namespace: "/", Opened: 5, Applied: 5}
	join, leave := operation(t, adapter.Join, 10, nil, "r"), operation(t, adapter.Leave, 20, nil, "r")
	s.Apply(join)
	s.ApplyChange(recovery.Change{At: 10, Leave: []string{"r"}}) // at the position of the join
	s.Applied = 5
	if c, _ := s.Apply(join); !c.Empty() {
		t.Errorf("joined again: %+v", c)
	}
	s.Apply(leave)
	s.ApplyChange(recovery.Change{At: 20, Join: []string{"r"}})
	s.Applied = 15
	if c, _ := s.Apply(leave); !c.Empty() {
		t.Errorf("left again: %+v", c)
	}
}

func TestSession_Apply_Audience(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		d    *adapter.Delivery
		over bool
	}{
		"every socket":       {operation(t, adapter.Disconnect, 50, nil), true},
		"by its own room":    {operation(t, adapter.Disconnect, 50, []string{"self"}), true},
		"by a room it is in": {operation(t, adapter.Disconnect, 50, []string{"in"}), true},
		"by one it left":     {operation(t, adapter.Disconnect, 50, []string{"out"}), false},
		"before it was open": {operation(t, adapter.Disconnect, 3, nil), false},
		"applied before":     {operation(t, adapter.Disconnect, 12, nil), false},
		"an event":           {operation(t, adapter.Event, 50, nil), false},
	} {
		s := recovery.Session{
			ID: "self", Namespace: "/", Opened: 5, Applied: 15,
			Rooms: []recovery.RoomInterval{{Room: "in", Joined: 10}, {Room: "out", Joined: 10, Ended: true, Left: 49}},
		}
		if _, over := s.Apply(tt.d); over != tt.over {
			t.Errorf("%s: over %v, want %v", name, over, tt.over)
		}
	}
	s := recovery.Session{ID: "self", Namespace: "/other"}
	if _, over := s.Apply(operation(t, adapter.Disconnect, 50, nil)); over {
		t.Error("an operation of another namespace ended the session")
	}
}

// A change after an operation without effect is kept, too.
func TestSession_Apply_NoChange_Twice(t *testing.T) {
	t.Parallel()
	s := recovery.Session{ID: "self", Namespace: "/", Opened: 5, Applied: 5}
	s.ApplyChange(recovery.Change{At: 7, Join: []string{"r"}})
	join := operation(t, adapter.Join, 10, nil, "r")
	for range 2 {
		if c, _ := s.Apply(join); !c.Empty() {
			t.Errorf("joined: %+v", c)
		}
		s.ApplyChange(recovery.Change{At: 10, Leave: []string{"r"}})
		s.Applied = 5
	}
	if want := []recovery.RoomInterval{{Room: "r", Joined: 7, Ended: true, Left: 10}}; !slices.Equal(s.Rooms, want) {
		t.Errorf("rooms %+v, want %+v", s.Rooms, want)
	}
}

// A replay contains a History only if the session joined its room with it.
func TestSession_Matches_History(t *testing.T) {
	t.Parallel()
	history := func(p adapter.Position, room string) *adapter.Delivery {
		return &adapter.Delivery{
			Envelope: &adapter.Envelope{
				Kind: adapter.History, Namespace: "/", Audience: adapter.Audience{Rooms: []string{"self"}},
				Payload: []byte(`{"event":"earlier","room":"` + room + `"}`),
			},
			Offset: adapter.Offset{Position: p},
		}
	}
	s := recovery.Session{ID: "self", Namespace: "/", Opened: 5, Applied: 5, Rooms: []recovery.RoomInterval{{Room: "in", Joined: 5}}}
	log := []*adapter.Delivery{
		history(6, "in"), // nothing happens
		history(10, "a"), //
		history(11, "a"), // again
		operation(t, adapter.Leave, 12, []string{"self"}, "a"),
		history(13, "a"), // again after it has left
		history(14, "self"),
		history(15, ""),
	}
	for _, d := range log {
		s.Apply(d)
	}
	// It leaves the room at a record that put it there although it was in it, and joins again.
	s.ApplyChange(recovery.Change{At: 11, Leave: []string{"in"}})
	s.ApplyChange(recovery.Change{At: 6, Join: []string{"in"}})
	s.Rooms[0].Left = 6
	var replayed []adapter.Position
	for _, d := range log {
		if s.Matches(d) {
			replayed = append(replayed, d.Offset.Position)
		}
	}
	if want := []adapter.Position{10, 13}; !slices.Equal(replayed, want) {
		t.Errorf("replayed %v, want %v; rooms %+v", replayed, want, s.Rooms)
	}
	if !s.WasIn("self", 1) || !s.WasIn("a", 11) || s.WasIn("a", 10) || s.WasIn("a", 13) {
		t.Error("WasIn is not the rooms before the record")
	}
}
