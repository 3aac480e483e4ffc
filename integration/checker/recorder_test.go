package checker_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/integration/checker"
)

// A record is a checker.Record.
type record = checker.Record

// validRecords returns records of two clients and twelve events without a violation: client 1 joins room a after
// event 1/2 and leaves it after 1/8, an operation puts both into room b at position 55; every third event is for room
// a, every third for b. Client 2 reconnects after event 1/5.
func validRecords() []record {
	to := func(rooms ...string) *checker.Target { return &checker.Target{Rooms: rooms} }
	everybody := to()
	records := []record{
		{Kind: checker.Connected, Client: 1, Socket: "s1"},
		{Kind: checker.Connected, Client: 2, Socket: "s2"},
	}
	for i := range 12 {
		aim := []*checker.Target{everybody, to("a"), to("b")}[i%3]
		records = append(records, record{Kind: checker.Published, Event: checker.NewID(1, i), To: aim, Start: int64(1000 + 10*i), End: int64(1005 + 10*i)})
		records = append(records, record{Kind: checker.Logged, Event: checker.NewID(1, i), To: aim, Position: int64(10 * (i + 1))})
	}
	records = append(records, record{Kind: checker.Logged, Op: checker.Join, Rooms: []string{"b"}, To: everybody, Position: 55})
	got := func(client int, seqs ...int) {
		for _, seq := range seqs {
			records = append(records, record{Kind: checker.Received, Client: client, Event: checker.NewID(1, seq)})
		}
	}
	got(1, 0)
	records = append(records, record{Kind: checker.Requested, Client: 1, Op: checker.Join, Rooms: []string{"a"}})
	records = append(records, record{Kind: checker.Confirmed, Client: 1, Op: checker.Join, Rooms: []string{"a"}})
	got(1, 3, 4, 5, 6, 7, 8)
	records = append(records, record{Kind: checker.Requested, Client: 1, Op: checker.Leave, Rooms: []string{"a"}})
	records = append(records, record{Kind: checker.Confirmed, Client: 1, Op: checker.Leave, Rooms: []string{"a"}})
	got(1, 9, 11)
	got(2, 0, 3, 5)
	records = append(records, record{Kind: checker.Connected, Client: 2, Socket: "s2", Recovered: true})
	got(2, 6, 8, 9, 11)
	return records
}

func receivedBy(client, seq int) func(record) bool {
	return func(p record) bool {
		return p.Kind == checker.Received && p.Client == client && p.Event == checker.NewID(1, seq)
	}
}

func logged(seq int) func(record) bool {
	return func(p record) bool { return p.Kind == checker.Logged && p.Op == "" && p.Event == checker.NewID(1, seq) }
}

func indexOf(t *testing.T, records []record, is func(record) bool) int {
	t.Helper()
	for i, p := range records {
		if is(p) {
			return i
		}
	}
	t.Fatal("no such record")
	return 0
}

// TestRecorderCheck_FindsEachViolation injects one violation of each kind into valid records.
func TestRecorderCheck_FindsEachViolation(t *testing.T) {
	t.Parallel()
	type plant = func(t *testing.T, records []record) []record
	without := func(is func(record) bool) plant {
		return func(t *testing.T, records []record) []record {
			t.Helper()
			i := indexOf(t, records, is)
			return append(records[:i:i], records[i+1:]...)
		}
	}
	after := func(is func(record) bool, more ...record) plant {
		return func(t *testing.T, records []record) []record {
			t.Helper()
			i := indexOf(t, records, is) + 1
			return append(append(records[:i:i], more...), records[i:]...)
		}
	}
	got := func(client, seq int) record {
		return record{Kind: checker.Received, Client: client, Event: checker.NewID(1, seq)}
	}
	fresh := record{Kind: checker.Connected, Client: 2, Socket: "s3"}
	for name, c := range map[string]struct {
		plant plant
		want  checker.ViolationKind
		shows string
	}{
		"none":                 {plant: func(_ *testing.T, b []record) []record { return b }},
		"loss in the middle":   {without(receivedBy(2, 5)), checker.Lost, "client 2 did not receive event 1/5"},
		"loss of the end":      {without(receivedBy(2, 11)), checker.Lost, "client 2 did not receive event 1/11"},
		"loss in a room":       {without(receivedBy(1, 7)), checker.Lost, `rooms ["a"]`},
		"loss after operation": {without(receivedBy(1, 5)), checker.Lost, `rooms ["b"]`},
		"double":               {after(receivedBy(2, 8), got(2, 8)), checker.Duplicated, "first:"},
		"double after return":  {after(receivedBy(2, 11), record{Kind: checker.Connected, Client: 2, Recovered: true}, got(2, 11)), checker.Duplicated, "recovered: true"},
		"new session, double":  {plant: after(receivedBy(2, 11), fresh, got(2, 11))},
		"other order":          {after(receivedBy(2, 3), got(2, 6)), checker.Reordered, "behind"},
		"before the operation": {after(receivedBy(2, 0), got(2, 2)), checker.Misdelivered, "not in the room"},
		"of another's room":    {after(receivedBy(2, 3), got(2, 4)), checker.Misdelivered, "not in the room"},
		"after leaving":        {after(receivedBy(1, 9), got(1, 10)), checker.Misdelivered, "not in the room"},
		"not in the log":       {without(logged(10)), checker.NotLogged, "1/10"},
		"twice in the log":     {after(logged(10), record{Kind: checker.Logged, Event: checker.NewID(1, 10), To: &checker.Target{}, Position: 300}), checker.Duplicated, "twice"},
		"never emitted":        {after(logged(10), record{Kind: checker.Logged, Event: checker.NewID(9, 9), To: &checker.Target{}, Position: 300}), checker.NeverEmitted, "9/9"},
		"log out of order":     {after(logged(11), record{Kind: checker.Published, Event: checker.NewID(2, 0), To: &checker.Target{}, Start: 1, End: 2}, record{Kind: checker.Logged, Event: checker.NewID(2, 0), To: &checker.Target{}, Position: 300}), checker.Reordered, "acknowledged before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			records := c.plant(t, validRecords())

			v := check(t, records)

			switch {
			case c.want == "" && v != nil:
				t.Fatalf("a violation was found in valid records: %v", v)
			case c.want != "" && v == nil:
				t.Fatal("the violation was not found")
			case c.want != "" && (v.Kind != c.want || !strings.Contains(v.Text, c.shows)):
				t.Fatalf("found %v\nwant %s, showing %q", v, c.want, c.shows)
			}
		})
	}
}

// TestRecorderCheck_UnconfirmedJoin_MayCountEitherWay: a join that was not confirmed may have taken effect or not.
func TestRecorderCheck_UnconfirmedJoin_MayCountEitherWay(t *testing.T) {
	t.Parallel()
	for _, gotIt := range []bool{true, false} {
		records := validRecords()
		i := indexOf(t, records, func(p record) bool { return p.Kind == checker.Confirmed })
		records = append(records[:i:i], records[i+1:]...) // that of the join
		if !gotIt {
			i = indexOf(t, records, receivedBy(1, 4))
			records = append(records[:i:i], records[i+1:]...)
		}
		if v := check(t, records); v != nil {
			t.Errorf("received %v: %v", gotIt, v)
		}
	}
}

// check adds the records to a Recorder, saves and loads it, and checks it.
func check(t *testing.T, records []record) *checker.ViolationError {
	t.Helper()
	var b checker.Recorder
	for _, r := range records {
		b.Add(r)
	}
	file := filepath.Join(t.TempDir(), "records")
	if err := b.Save(file); err != nil {
		t.Fatal(err)
	}
	loaded, err := checker.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Check()
}
