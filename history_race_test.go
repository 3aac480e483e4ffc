package socketio_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// numbered emits the numbers of a room, in order.
type numbered struct {
	mu   sync.Mutex
	next int
}

func (n *numbered) emit(ctx context.Context, io *socketio.Server, room string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	return posts.Emit(ctx, io.To(socketio.Room(room)), posted{room, n.next})
}

type posted struct {
	Room   string `json:"room"`
	Number int    `json:"number"`
}

const posts socketio.Event[posted] = "post"

// A roomReader is a client that joins rooms with their histories, and loses its connection
// again and again: as it joins and leaves, and in the middle of what it receives.
type roomReader struct {
	t      *testing.T
	server *socketio.Server
	client *transporttest.Client
	random *rand.Rand
	cuts   *atomic.Int64

	id, pid, offset string
	last            map[string]int // the last number of each room, while it is in it
	joining         string
}

// connect connects with what the client keeps of its session.
func (r *roomReader) connect() {
	r.client = transporttest.Dial(r.t, r.server, "/socket.io/?EIO=4&transport=websocket")
	auth := ""
	if r.pid != "" {
		auth = fmt.Sprintf(`{"pid":%q,"offset":%q}`, r.pid, r.offset)
	}
	r.client.WriteText("0" + auth)
	var body struct{ SID, PID string }
	if text := r.client.ReadText(); json.Unmarshal([]byte(strings.TrimPrefix(text, "0")), &body) != nil || body.SID == "" || r.id != "" && body.SID != r.id {
		r.t.Fatalf("CONNECT answered with %q, was %s", text, r.id)
	}
	r.id, r.pid = body.SID, body.PID
}

// request repeats a request until it is answered, and processes the events before.
func (r *roomReader) request(name, room string) {
	for {
		r.client.WriteText(`27["` + name + `","` + room + `"]`)
		for r.random.IntN(80) > 0 {
			text := r.client.ReadText()
			if strings.HasPrefix(text, "37") {
				if text != "37[]" {
					r.t.Fatalf("%s %s: %s", name, room, text)
				}
				return
			}
			r.event(text)
		}
		r.cuts.Add(1)
		r.client.Cut()
		r.connect()
	}
}

// event processes an event: a history, or the next number of a room.
func (r *roomReader) event(text string) {
	var args []json.RawMessage
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "2")), &args); err != nil || len(args) != 3 {
		r.t.Fatalf("event expected, got %q", text)
	}
	switch string(args[0]) {
	case `"post"`:
		var p posted
		do(r.t, json.Unmarshal(args[1], &p))
		last, in := r.last[p.Room]
		if !in || p.Number != last+1 {
			r.t.Fatalf("received %s, joining %q; the last numbers are %v", text, r.joining, r.last)
		}
		r.last[p.Room] = p.Number
	case `"earlier"`:
		var h socketio.RoomHistory
		do(r.t, json.Unmarshal(args[1], &h))
		if _, in := r.last[string(h.Room)]; in || r.joining != string(h.Room) || len(h.Events) != 5 || !h.Complete {
			r.t.Fatalf("received %s, joining %q; the last numbers are %v", text, r.joining, r.last)
		}
		for i, e := range h.Events {
			var p posted
			do(r.t, json.Unmarshal(e.Args[0], &p))
			if e.Event != "post" || i > 0 && p.Number != r.last[p.Room]+1 {
				r.t.Fatalf("received %s", text)
			}
			r.last[p.Room] = p.Number
		}
	default:
		r.t.Fatalf("received %s", text)
	}
	do(r.t, json.Unmarshal(args[2], &r.offset))
}

// TestHistory_ConcurrentWriters_NoGapNoDouble: clients join rooms with their histories while
// others emit to these. The history and the events after it are consecutive, and so are the
// events of a room that they stay in.
func TestHistory_ConcurrentWriters_NoGapNoDouble(t *testing.T) {
	t.Parallel()
	const clients, rooms = 20, 8
	joins := 50
	if n, err := strconv.Atoi(os.Getenv("SOCKETIO_TEST_JOINS")); err == nil {
		joins = n / clients
	}
	io := newServer(nil)
	histories(io, socketio.Past{Last: 5})
	io.Use(func(ctx context.Context, s *socketio.Socket) error { return s.Join(ctx, "all") })
	room := func(i int) string { return fmt.Sprint("room ", i) }
	var all numbered
	numbers := make([]numbered, rooms)
	for i := range numbers {
		for range 5 {
			do(t, numbers[i].emit(t.Context(), io, room(i)))
		}
	}
	wanted := make(chan struct{}, 64)
	var writers, readers sync.WaitGroup
	for w := range 4 {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		writers.Go(func() {
			for range wanted {
				i := random.IntN(rooms)
				do(t, numbers[i].emit(t.Context(), io, room(i)))
				if random.IntN(4) == 0 {
					do(t, all.emit(t.Context(), io, "all"))
				}
			}
		})
	}
	var cuts atomic.Int64
	for c := range clients {
		r := &roomReader{t: t, server: io, random: rand.New(rand.NewPCG(2, uint64(c))), cuts: &cuts, last: make(map[string]int)}
		all.mu.Lock() // so that the client knows where it begins
		r.connect()
		r.last["all"] = all.next
		all.mu.Unlock()
		readers.Go(func() {
			for range joins {
				name := room(r.random.IntN(rooms))
				for range r.random.IntN(6) {
					wanted <- struct{}{}
				}
				r.joining = name
				r.request("join", name)
				if _, in := r.last[name]; !in {
					r.t.Fatalf("the join of %q was answered before its history", name)
				}
				r.joining = ""
				for range r.random.IntN(6) {
					wanted <- struct{}{}
				}
				r.request("leave", name)
				delete(r.last, name)
			}
		})
	}
	readers.Wait()
	close(wanted)
	writers.Wait()
	t.Logf("%d joins, %d cuts", clients*joins, cuts.Load())
	do(t, io.Shutdown(context.Background()))
}
