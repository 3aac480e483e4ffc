package recovery_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// addressed returns a text that shows for each room the positions at which it matches.
func addressed(s *recovery.Session, rooms int, head adapter.Position) string {
	var text []byte
	for r := range rooms {
		for p := adapter.Position(1); p <= head; p++ {
			d := &adapter.Delivery{
				Envelope: &adapter.Envelope{Namespace: "/", Audience: adapter.Audience{Rooms: []string{fmt.Sprint(r)}}},
				Offset:   adapter.Offset{Position: p},
			}
			if s.Matches(d) {
				text = append(text, '#')
			} else {
				text = append(text, '.')
			}
		}
		text = append(text, ' ')
	}
	return string(text)
}

// A session in many rooms has an index, a session in few has none: both have the same
// results.
func TestSession_ManyRooms_SameAsFew(t *testing.T) {
	t.Parallel()
	const rooms, head = 5, 60
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		few := &recovery.Session{ID: "self", Namespace: "/"}
		many := &recovery.Session{ID: "self", Namespace: "/"}
		for i := range 100 {
			many.Rooms = append(many.Rooms, recovery.RoomInterval{Room: fmt.Sprint("other ", i)})
		}
		var snapshot *recovery.Session
		var seen string
		p := adapter.Position(1)
		for range 60 {
			p = min(p+adapter.Position(rnd.IntN(3)), head)
			room := fmt.Sprint(rnd.IntN(rooms))
			if few.In(room) != many.In(room) {
				t.Fatalf("seed %d: in room %s: %v, %v", seed, room, few.In(room), many.In(room))
			}
			switch rnd.IntN(8) {
			case 0:
				snapshot, seen = many.Snapshot(), addressed(many, rooms, head)
			case 1:
				low := max(0, p-10)
				few.Trim(low)
				many.Trim(low)
			case 2, 3:
				kind := []adapter.Kind{adapter.Join, adapter.Leave}[rnd.IntN(2)]
				d := operation(t, kind, p, []string{fmt.Sprint(rnd.IntN(rooms)), "self"}[rnd.IntN(2):], room, room)
				few.Applied, many.Applied = p-1, p-1 // an operation may be applied again
				a, _ := few.Apply(d)
				b, _ := many.Apply(d)
				if fmt.Sprint(a) != fmt.Sprint(b) {
					t.Fatalf("seed %d: %v, %v", seed, a, b)
				}
			default:
				c := recovery.Change{At: p}
				if few.In(room) {
					c.Leave = []string{room}
				} else {
					c.Join = []string{room}
				}
				few.ApplyChange(c)
				many.ApplyChange(c)
			}
			a, abytes := few.Count()
			b, bbytes := many.Count()
			if a+100 != b || abytes+790 != bbytes {
				t.Fatalf("seed %d: %d rooms of %d bytes, %d rooms of %d bytes", seed, a, abytes, b, bbytes)
			}
			if rnd.IntN(8) > 0 {
				continue
			}
			if x, y := addressed(few, rooms, head), addressed(many, rooms, head); x != y || few.MaxPosition() > many.MaxPosition() {
				t.Fatalf("seed %d at %d:\n few %s\nmany %s", seed, p, x, y)
			}
			if snapshot != nil && addressed(snapshot, rooms, head) != seen {
				t.Fatalf("seed %d: a snapshot changed", seed)
			}
		}
	}
}

// A client joins and leaves a room repeatedly while the log does not grow.
func TestSession_JoinedAndLeftAgain_DoesNotGrow(t *testing.T) {
	t.Parallel()
	s := &recovery.Session{ID: "self", Namespace: "/"}
	for range 1000 {
		s.ApplyChange(recovery.Change{At: 7, Join: []string{"r"}})
		s.ApplyChange(recovery.Change{At: 7, Leave: []string{"r"}})
	}
	if len(s.Rooms) != 1 || s.In("r") {
		t.Errorf("%d intervals, in the room: %v; want one that has ended", len(s.Rooms), s.In("r"))
	}
}
