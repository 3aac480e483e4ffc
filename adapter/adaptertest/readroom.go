package adaptertest

import (
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// publishRooms publishes n events, every third of them to the room "r" of "/", among others
// that are not: to other rooms and namespaces, to all sockets, and of other kinds.
func publishRooms(t *testing.T, a adapter.Adapter, n int) {
	t.Helper()
	for i := range n {
		e := Event("%d", i)
		e.Namespace = "/"
		switch i % 12 {
		case 0, 3:
			e.Audience.Rooms = []string{"r"}
		case 6:
			e.Audience.Rooms = []string{"other", "r", "r"}
		case 9:
			e.Audience = adapter.Audience{Rooms: []string{"r"}, Except: []string{"other"}}
		case 1:
			e.Audience.Rooms = []string{"other"}
		case 2:
			e.Audience.Except = []string{"r"}
		case 4:
			e.Namespace, e.Audience.Rooms = "/other", []string{"r"}
		case 5:
			e.Kind, e.Audience.Rooms = adapter.Volatile, []string{"r"}
		case 7:
			e.Kind, e.Payload, e.Audience.Rooms = adapter.Leave, []byte(`["r"]`), []string{"r"}
		default: // to all sockets
		}
		Publish(t, a, e)
		if i%5 == 0 { // so that events of the room are in several batches, and next to each other
			if err := a.WaitDelivered(within(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// ofRoom returns the events of the room, the newest first.
func ofRoom(all []adapter.Delivery) (found []adapter.Delivery) {
	for _, d := range slices.Backward(all) {
		if d.Kind == adapter.Event && d.Namespace == "/" && slices.Contains(d.Audience.Rooms, "r") {
			found = append(found, d)
		}
	}
	return found
}

// collectRoom returns the events of the room that ReadRoom yields, and its error. It fails
// the test if what it yields is not in descending order, without a time, or after the
// position, or if it yields after an error.
func collectRoom(t *testing.T, read iter.Seq2[adapter.PastDelivery, error], to adapter.Position) ([]adapter.Delivery, error) {
	t.Helper()
	var all []adapter.Delivery
	var failed error
	for d, err := range read {
		switch {
		case failed != nil:
			t.Fatalf("yielded after %v", failed)
		case err != nil:
			failed = err
			continue
		case len(all) > 0 && all[len(all)-1].Offset.Position <= d.Offset.Position, d.Offset.Position > to, d.At.IsZero():
			t.Fatalf("yielded position %d of %v, after %d records, from %d on", d.Offset.Position, d.At, len(all), to)
		}
		all = append(all, d.Delivery)
	}
	slices.Reverse(all)
	return ofRoom(all), failed
}

// checkRooms reads the room back from every position of all[begin:].
func checkRooms(t *testing.T, a adapter.Adapter, all []adapter.Delivery, begin int) {
	t.Helper()
	for i := begin; i < len(all); i++ {
		to := all[i].Offset.Position
		got, err := collectRoom(t, a.ReadRoom(within(t), "/", "r", to), to)
		if want := ofRoom(all[:i+1]); err != nil || !slices.EqualFunc(got, want, same) {
			t.Fatalf("from %d on: got %q, %v, want %q", to, Payloads(got), err, Payloads(want))
		}
	}
}

func readRoomEveryPosition(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	publishRooms(t, a, 240)
	all := r.Expect(t, 240)
	checkRooms(t, a, all, 0)
	end := all[len(all)-1].Offset.Position
	for _, err := range a.ReadRoom(within(t), "/", "r", end) { // the caller may stop
		if err != nil {
			t.Error(err)
		}
		break
	}
	publishRooms(t, a, 240) // what has been read may be remembered
	checkRooms(t, a, r.Expect(t, 480), 400)
}

func readRoomAnotherNode(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	publishRooms(t, a, 60)
	late := log.Node(t) // bound after the events: reads them from the log
	l, _ := Bound(t, late)
	publishRooms(t, a, 60)
	all := r.Expect(t, 120)
	l.Expect(t, 60)
	for _, i := range []int{119, 70, 59, 30, 0} {
		to := all[i].Offset.Position
		got, err := collectRoom(t, late.ReadRoom(within(t), "/", "r", to), to)
		if want := ofRoom(all[:i+1]); err != nil || !slices.EqualFunc(got, want, same) {
			t.Fatalf("from %d on: got %q, %v, want %q", to, Payloads(got), err, Payloads(want))
		}
	}
}

func readRoomDuringPublish(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	var wg sync.WaitGroup
	wg.Go(func() { publishRooms(t, a, 1200) })
	for len(r.Deliveries()) < 1200 && !t.Failed() {
		all := r.Expect(t, 1)
		to := all[len(all)-1].Offset.Position
		got, err := collectRoom(t, a.ReadRoom(within(t), "/", "r", to), to)
		if want := ofRoom(all); err != nil || !slices.EqualFunc(got, want, same) {
			t.Errorf("read %d, %v; delivered %d", len(got), err, len(want))
		}
	}
	wg.Wait()
}

func readRoomTrimmed(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	publishRooms(t, a, 24)
	old := r.Expect(t, 24)
	if _, err := collectRoom(t, a.ReadRoom(within(t), "/", "r", old[23].Offset.Position), old[23].Offset.Position); err != nil {
		t.Fatal(err)
	}
	log.Trim(t)
	publishRooms(t, a, 4)
	if err := a.WaitDelivered(within(t)); err != nil {
		t.Fatal(err)
	}
	all := r.Deliveries()
	to := all[len(all)-1].Offset.Position
	got, err := collectRoom(t, a.ReadRoom(within(t), "/", "r", to), to)
	if want := ofRoom(all[len(all)-4:]); !errors.Is(err, adapter.ErrTrimmed) || !slices.EqualFunc(got, want, same) {
		t.Errorf("got %q, %v, want %q and ErrTrimmed", Payloads(got), err, Payloads(want))
	}
	if got, err := collectRoom(t, a.ReadRoom(within(t), "/", "r", old[23].Offset.Position), old[23].Offset.Position); len(got) > 0 || !errors.Is(err, adapter.ErrTrimmed) {
		t.Errorf("below what is kept: got %q, %v, want ErrTrimmed", Payloads(got), err)
	}
}
