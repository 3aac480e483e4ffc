package checker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
)

// validHistory returns a history of three clients, two publishers and ten events each without a violation: client 0
// is in room a, client 1 in room b, client 2 in both; every third event is for room a, every third for b without a.
func validHistory() (h *checker.History, receipts map[int][]checker.ID) {
	h = &checker.History{}
	receipts = make(map[int][]checker.ID)
	rooms := map[int][]string{0: {"a"}, 1: {"b"}, 2: {"a", "b"}}
	for client, names := range rooms {
		h.Joined(client, checker.Everybody, 1, 2)
		for _, room := range names {
			h.Joined(client, room, 3, 4)
		}
	}
	for i := range 20 {
		id := checker.NewID(1+i%2, i/2)
		e := checker.Emit{ID: id, Start: int64(100 + 10*i), End: int64(105 + 10*i)}
		for2 := []int{0, 1, 2}
		switch i % 3 {
		case 1:
			e.To.Rooms = []string{"a"}
			for2 = []int{0, 2}
		case 2:
			e.To.Rooms, e.To.Except = []string{"b"}, []string{"a"}
			for2 = []int{1}
		}
		h.Emitted(e)
		for _, client := range for2 {
			receipts[client] = append(receipts[client], id)
		}
	}
	return h, receipts
}

// TestHistoryCheck_FindsEachViolation injects one violation of each kind into a valid history.
func TestHistoryCheck_FindsEachViolation(t *testing.T) {
	t.Parallel()
	type fault = func(h *checker.History, r map[int][]checker.ID)
	for name, c := range map[string]struct {
		plant fault
		want  checker.ViolationKind
		shows string
	}{
		"none":           {plant: func(*checker.History, map[int][]checker.ID) {}},
		"loss":           {func(_ *checker.History, r map[int][]checker.ID) { r[0] = append(r[0][:3], r[0][4:]...) }, checker.Lost, "client 0 did not receive 1"},
		"tail lost":      {func(_ *checker.History, r map[int][]checker.ID) { r[2] = r[2][:len(r[2])-1] }, checker.Lost, "client 2 did not receive 1"},
		"all lost":       {func(_ *checker.History, r map[int][]checker.ID) { r[1] = nil }, checker.Lost, "client 1 did not receive"},
		"double":         {func(_ *checker.History, r map[int][]checker.ID) { r[1] = append(r[1], r[1][2]) }, checker.Duplicated, "client 1 received twice"},
		"invention":      {func(_ *checker.History, r map[int][]checker.ID) { r[1] = append(r[1], checker.NewID(9, 9)) }, checker.NeverEmitted, "9/9"},
		"wrong room":     {func(_ *checker.History, r map[int][]checker.ID) { r[1] = append(r[1], r[0][1]) }, checker.Misdelivered, `rooms ["a"]`},
		"excepted room":  {func(_ *checker.History, r map[int][]checker.ID) { r[2] = append(r[2], checker.NewID(1, 1)) }, checker.Misdelivered, `but not ["a"]`},
		"after leaving":  {func(h *checker.History, r map[int][]checker.ID) { h.Left(0, "a", 150, 151) }, checker.Misdelivered, `until`},
		"before joining": {func(h *checker.History, r map[int][]checker.ID) { h.Left(0, "a", 5, 6); h.Joined(0, "a", 150, 151) }, checker.Misdelivered, `since`},
		"publisher's order": {func(_ *checker.History, r map[int][]checker.ID) {
			r[0][0], r[0][2] = r[0][2], r[0][0]
		}, checker.Reordered, "received"},
		"acknowledged before emitted": {func(_ *checker.History, r map[int][]checker.ID) { r[2][0], r[2][1] = r[2][1], r[2][0] }, checker.Reordered, "acknowledged before"},
		"delivered though failed, twice": {func(h *checker.History, r map[int][]checker.ID) {
			h.Emitted(checker.Emit{ID: checker.NewID(3, 0), Start: 1, End: 2000, Err: "no"})
			r[0] = append([]checker.ID{checker.NewID(3, 0)}, append(r[0], checker.NewID(3, 0))...)
		}, checker.Duplicated, "3/0"},
		"delivered though failed, once": {plant: func(h *checker.History, r map[int][]checker.ID) {
			h.Emitted(checker.Emit{ID: checker.NewID(3, 0), Start: 1, End: 2000, Err: "no"})
			r[0] = append([]checker.ID{checker.NewID(3, 0)}, r[0]...)
		}},
		"failed, and lost": {plant: func(h *checker.History, _ map[int][]checker.ID) {
			h.Emitted(checker.Emit{ID: checker.NewID(3, 0), Start: 90, End: 2000, Err: "no"})
			h.Emitted(checker.Emit{ID: checker.NewID(3, 1), Start: 90})
		}},
		"concurrent, in two orders": {func(h *checker.History, r map[int][]checker.ID) {
			x, y := concurrent(h, 5), concurrent(h, 6)
			r[0], r[1] = append(r[0], x, y), append(r[1], y, x)
			r[2] = append(r[2], x, y)
		}, checker.NoCommonOrder, "in the other order"},
		"three in a circle": {func(h *checker.History, r map[int][]checker.ID) {
			x, y, z := concurrentToRoom(h, 5, "x"), concurrentToRoom(h, 6, "y"), concurrentToRoom(h, 7, "z")
			h.Joined(0, "x", 1, 2)
			h.Joined(0, "y", 1, 2)
			h.Joined(1, "y", 1, 2)
			h.Joined(1, "z", 1, 2)
			h.Joined(2, "z", 1, 2)
			h.Joined(2, "x", 1, 2)
			r[0], r[1], r[2] = append(r[0], x, y), append(r[1], y, z), append(r[2], z, x)
		}, checker.NoCommonOrder, "contradict"},
		"concurrent, in one order": {plant: func(h *checker.History, r map[int][]checker.ID) {
			x, y := concurrent(h, 5), concurrent(h, 6)
			for client := range 3 {
				r[client] = append(r[client], y, x)
			}
		}},
		"joining meanwhile": {plant: func(h *checker.History, r map[int][]checker.ID) {
			h.Emitted(checker.Emit{ID: checker.NewID(3, 0), To: checker.Target{Rooms: []string{"c"}}, Start: 5000, End: 6000})
			h.Joined(0, "c", 5500, 5600) // received it
			h.Joined(1, "c", 5500, 5600) // did not
			r[0] = append(r[0], checker.NewID(3, 0))
		}},
		"the lag of another node": {plant: func(h *checker.History, r map[int][]checker.ID) {
			h.Lag = time.Microsecond
			h.Emitted(checker.Emit{ID: checker.NewID(3, 0), To: checker.Target{Rooms: []string{"c"}}, Start: 5000, End: 5100})
			h.Joined(0, "c", 5500, 5600)
			r[0] = append(r[0], checker.NewID(3, 0))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, receipts := validHistory()
			c.plant(h, receipts)
			for client, ids := range receipts {
				h.Note(client, "connected")
				h.Received(client, ids...)
			}

			v := h.Check()

			switch {
			case c.want == "" && v != nil:
				t.Fatalf("a violation was found in a valid history: %v", v)
			case c.want != "" && v == nil:
				t.Fatalf("the violation was not found")
			case c.want != "" && (v.Kind != c.want || !strings.Contains(v.Text, c.shows)):
				t.Fatalf("found %v\nwant %s, showing %q", v, c.want, c.shows)
			case v != nil:
				t.Log(v)
			}
		})
	}
}

// concurrent adds an event whose emit overlaps all others.
func concurrent(h *checker.History, publisher int) checker.ID {
	id := checker.NewID(publisher, 0)
	h.Emitted(checker.Emit{ID: id, Start: 90, End: 2000})
	return id
}

func concurrentToRoom(h *checker.History, publisher int, room string) checker.ID {
	id := checker.NewID(publisher, 0)
	h.Emitted(checker.Emit{ID: id, To: checker.Target{Rooms: []string{room}}, Start: 90, End: 2000})
	return id
}
