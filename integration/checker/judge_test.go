package checker_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/integration/checker"
)

// A page is one record of a Book, with its time.
type page = checker.Record

// play writes a book of two clients and twelve events, in which all is well: client 1 joins room a after the event 1/2
// and leaves it after 1/8, an operation puts both into room b at position 55; every third event is for room a, every
// third for b. Client 2 comes back after the event 1/5.
func play() []page {
	to := func(rooms ...string) *checker.Target { return &checker.Target{Rooms: rooms} }
	everybody := to()
	book := []page{
		{What: checker.Connected, Client: 1, Socket: "s1"},
		{What: checker.Connected, Client: 2, Socket: "s2"},
	}
	for i := range 12 {
		aim := []*checker.Target{everybody, to("a"), to("b")}[i%3]
		book = append(book, page{What: checker.Published, Event: checker.Of(1, i), To: aim, Start: int64(1000 + 10*i), End: int64(1005 + 10*i)})
		book = append(book, page{What: checker.Logged, Event: checker.Of(1, i), To: aim, Position: int64(10 * (i + 1))})
	}
	book = append(book, page{What: checker.Logged, Do: checker.Join, Rooms: []string{"b"}, To: everybody, Position: 55})
	got := func(client int, seqs ...int) {
		for _, seq := range seqs {
			book = append(book, page{What: checker.Got, Client: client, Event: checker.Of(1, seq)})
		}
	}
	got(1, 0)
	book = append(book, page{What: checker.Asked, Client: 1, Do: checker.Join, Rooms: []string{"a"}})
	book = append(book, page{What: checker.Done, Client: 1, Do: checker.Join, Rooms: []string{"a"}})
	got(1, 3, 4, 5, 6, 7, 8)
	book = append(book, page{What: checker.Asked, Client: 1, Do: checker.Leave, Rooms: []string{"a"}})
	book = append(book, page{What: checker.Done, Client: 1, Do: checker.Leave, Rooms: []string{"a"}})
	got(1, 9, 11)
	got(2, 0, 3, 5)
	book = append(book, page{What: checker.Connected, Client: 2, Socket: "s2", Recovered: true})
	got(2, 6, 8, 9, 11)
	return book
}

func gotten(client, seq int) func(page) bool {
	return func(p page) bool { return p.What == checker.Got && p.Client == client && p.Event == checker.Of(1, seq) }
}

func logged(seq int) func(page) bool {
	return func(p page) bool { return p.What == checker.Logged && p.Do == "" && p.Event == checker.Of(1, seq) }
}

func find(t *testing.T, book []page, is func(page) bool) int {
	t.Helper()
	for i, p := range book {
		if is(p) {
			return i
		}
	}
	t.Fatal("no such record")
	return 0
}

// TestJudgeFindsEachViolation plants one fault of each kind into a good book.
func TestJudgeFindsEachViolation(t *testing.T) {
	t.Parallel()
	type plant = func(t *testing.T, book []page) []page
	without := func(is func(page) bool) plant {
		return func(t *testing.T, book []page) []page {
			t.Helper()
			i := find(t, book, is)
			return append(book[:i:i], book[i+1:]...)
		}
	}
	after := func(is func(page) bool, more ...page) plant {
		return func(t *testing.T, book []page) []page {
			t.Helper()
			i := find(t, book, is) + 1
			return append(append(book[:i:i], more...), book[i:]...)
		}
	}
	got := func(client, seq int) page { return page{What: checker.Got, Client: client, Event: checker.Of(1, seq)} }
	fresh := page{What: checker.Connected, Client: 2, Socket: "s3"}
	for name, c := range map[string]struct {
		plant plant
		want  checker.Kind
		shows string
	}{
		"none":                 {plant: func(_ *testing.T, b []page) []page { return b }},
		"loss in the middle":   {without(gotten(2, 5)), checker.Lost, "client 2 never got event 1/5"},
		"loss of the end":      {without(gotten(2, 11)), checker.Lost, "client 2 never got event 1/11"},
		"loss in a room":       {without(gotten(1, 7)), checker.Lost, `rooms ["a"]`},
		"loss after operation": {without(gotten(1, 5)), checker.Lost, `rooms ["b"]`},
		"double":               {after(gotten(2, 8), got(2, 8)), checker.Doubled, "the first time"},
		"double after return":  {after(gotten(2, 11), page{What: checker.Connected, Client: 2, Recovered: true}, got(2, 11)), checker.Doubled, "recovered: true"},
		"new session, double":  {plant: after(gotten(2, 11), fresh, got(2, 11))},
		"other order":          {after(gotten(2, 3), got(2, 6)), checker.Overtaken, "behind"},
		"before the operation": {after(gotten(2, 0), got(2, 2)), checker.Misdelivered, "not in the room"},
		"of another's room":    {after(gotten(2, 3), got(2, 4)), checker.Misdelivered, "not in the room"},
		"after leaving":        {after(gotten(1, 9), got(1, 10)), checker.Misdelivered, "not in the room"},
		"not in the log":       {without(logged(10)), checker.Unlogged, "1/10"},
		"twice in the log":     {after(logged(10), page{What: checker.Logged, Event: checker.Of(1, 10), To: &checker.Target{}, Position: 300}), checker.Doubled, "twice"},
		"nobody emitted":       {after(logged(10), page{What: checker.Logged, Event: checker.Of(9, 9), To: &checker.Target{}, Position: 300}), checker.Invented, "9/9"},
		"log out of order":     {after(logged(11), page{What: checker.Published, Event: checker.Of(2, 0), To: &checker.Target{}, Start: 1, End: 2}, page{What: checker.Logged, Event: checker.Of(2, 0), To: &checker.Target{}, Position: 300}), checker.Overtaken, "acknowledged before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := c.plant(t, play())

			v := judge(t, book)

			switch {
			case c.want == "" && v != nil:
				t.Fatalf("a good book is found wrong: %v", v)
			case c.want != "" && v == nil:
				t.Fatal("a fault was not found")
			case c.want != "" && (v.Kind != c.want || !strings.Contains(v.Text, c.shows)):
				t.Fatalf("found %v\nwant %s, showing %q", v, c.want, c.shows)
			}
		})
	}
}

// TestJudgeDoubts: a join that was not heard of may have taken effect or not; one that was done, has.
func TestJudgeDoubts(t *testing.T) {
	t.Parallel()
	for _, gotIt := range []bool{true, false} {
		book := play()
		i := find(t, book, func(p page) bool { return p.What == checker.Done })
		book = append(book[:i:i], book[i+1:]...) // the join's
		if !gotIt {
			i = find(t, book, gotten(1, 4))
			book = append(book[:i:i], book[i+1:]...)
		}
		if v := judge(t, book); v != nil {
			t.Errorf("got it: %v: %v", gotIt, v)
		}
	}
}

// judge adds the records to a Book, and judges it as it is after it was saved and loaded.
func judge(t *testing.T, records []page) *checker.ViolationError {
	t.Helper()
	var b checker.Book
	for _, r := range records {
		b.Add(r)
	}
	file := filepath.Join(t.TempDir(), "book")
	if err := b.Save(file); err != nil {
		t.Fatal(err)
	}
	loaded, err := checker.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Judge()
}
