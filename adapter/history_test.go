package adapter_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// The index has the same positions as a search of the records, whatever is added and removed.
func TestRoomIndex_AddAndRemove(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var x adapter.RoomIndex
	var records []*adapter.Delivery
	next := adapter.Position(0)
	for step := range 20_000 {
		switch n := random.IntN(10); {
		case n < 4+2*(step/2000%2): // grows and shrinks
			next += adapter.Position(1 + random.IntN(3))
			d := &adapter.Delivery{Envelope: &adapter.Envelope{Namespace: []string{"/", "/b"}[random.IntN(2)]}, Offset: adapter.Offset{Position: next}}
			for range random.IntN(4) {
				d.Audience.Rooms = append(d.Audience.Rooms, fmt.Sprint(random.IntN(3)))
			}
			if random.IntN(8) == 0 {
				d.Kind = adapter.Volatile
			}
			x.Add(d)
			records = append(records, d)
		case len(records) == 0:
		case n < 9:
			x.RemoveFirst(records[0])
			records = records[1:]
		default:
			last := len(records) - 1
			x.RemoveLast(records[last])
			records, next = records[:last], records[last].Offset.Position-1
		}
		to, limit := next-adapter.Position(random.IntN(20)), random.IntN(5)
		var want []adapter.Position
		for _, d := range slices.Backward(records) {
			if d.Kind == adapter.Event && d.Namespace == "/" && slices.Contains(d.Audience.Rooms, "1") && d.Offset.Position <= to && len(want) < limit {
				want = append(want, d.Offset.Position)
			}
		}
		if got := x.Before("/", "1", to, limit); !slices.Equal(got, want) {
			t.Fatalf("step %d: up to %d: got %v, want %v", step, to, got, want)
		}
	}
	for _, d := range records {
		x.RemoveFirst(d)
	}
	if x.Bytes() != 0 {
		t.Errorf("an empty index has %d bytes", x.Bytes())
	}
}

// Not parallel, as it measures the heap.
func TestMemory_MaxBytes_WithIndex(t *testing.T) { //nolint:paralleltest // see above
	const limit = 4 << 20
	for name, rooms := range map[string]func(i int) []string{
		"a room each": func(i int) []string { return []string{fmt.Sprint("room ", i)} },
		"one room":    func(int) []string { return []string{"room"} },
		"many rooms": func(int) (all []string) {
			for k := range 1000 {
				all = append(all, fmt.Sprint(k))
			}
			return all
		},
	} {
		log := adapter.NewMemory(&adapter.MemoryOptions{MaxBytes: limit})
		before := heap()
		for range log.ReadRoom(t.Context(), "/", "room", 0) { //nolint:errcheck // builds the index
			t.Error("records of an empty log")
		}
		for i := range 40_000 {
			if _, err := log.Publish(t.Context(), &adapter.Envelope{Namespace: "/", Audience: adapter.Audience{Rooms: rooms(i)}}); err != nil {
				t.Fatal(err)
			}
			if name == "many rooms" && i > 500 {
				break
			}
		}
		grown := heap() - before
		t.Logf("%s: %d KiB", name, grown>>10)
		if grown > limit+limit/8 || grown < limit/4 {
			t.Errorf("%s: the heap has grown by %d KiB, the limit is %d", name, grown>>10, limit>>10)
		}
		runtime.KeepAlive(log)
	}
}
