package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
)

// chance is a random source for any goroutine.
type chance struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func newChance(seed uint64) *chance { return &chance{rand: rand.New(rand.NewPCG(seed, 0))} }

// below returns a number below n.
func (c *chance) below(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(n)
}

// pause takes less than a duration.
func (c *chance) pause(most time.Duration) { time.Sleep(time.Duration(c.below(int(most)))) }

// TestRecovery_AtRandom_Exact: clients that are cut at any moment, claim twice and have failing middleware receive every
// event of the log once and in order, with local and volatile ones between them, also with a slow parser.
func TestRecovery_AtRandom_Exact(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			by := newChance(seed)
			opts := &socketio.Options{}
			if seed%4 != 0 {
				opts.Parser = &trickyParser{encode: func() { by.pause(300 * time.Microsecond) }, open: idle, decode: idle}
			}
			bubble(t, opts, func(t *testing.T, io *socketio.Server) { exact(t, io, by) })
		})
	}
}

func exact(t *testing.T, io *socketio.Server, by *chance) {
	t.Helper()
	const events = 300
	io.Use(func(ctx context.Context, s *socketio.Socket) error {
		switch by.below(6) {
		case 0:
			return errors.New("the database is restarting")
		case 1:
			panic("middleware")
		default:
			return s.Join(ctx, "room")
		}
	})
	var all sync.WaitGroup
	all.Go(func() {
		for i := range events {
			_ = said.Emit(t.Context(), io.To("room"), strconv.Itoa(i))
			if by.below(3) == 0 {
				by.pause(2 * time.Millisecond)
			}
		}
	})
	all.Go(func() {
		besides := []socketio.Target{io.Local(), io.Local().Volatile(), io.Volatile()}
		for range events {
			_ = said.Emit(t.Context(), besides[by.below(len(besides))], "besides")
			by.pause(1500 * time.Microsecond)
		}
	})
	for range 3 {
		all.Go(func() {
			r := reader{t: t, by: by, next: -1}
			for tries := 0; r.next < events && !t.Failed(); tries++ {
				if tries == 1000 {
					t.Errorf("stuck at %d", r.next)
				}
				r.read(io, events)
				by.pause(time.Millisecond)
			}
		})
	}
	all.Wait()
}

// A reader is a client that reads from one connection after the other.
type reader struct {
	t           *testing.T
	by          *chance
	pid, offset string
	next        int // the next expected event; -1: any
}

// read takes some events from a new connection, until the one that is not emitted any more.
func (r *reader) read(io *socketio.Server, end int) {
	ticket := ""
	if r.pid != "" {
		ticket = (&peer{t: r.t, pid: r.pid, offset: r.offset}).ticket()
	}
	p := dial(r.t, io)
	defer p.Cut()
	p.WriteText("0" + ticket)
	if ticket != "" && r.by.below(4) == 0 {
		twin := dial(r.t, io)
		twin.WriteText("0" + ticket)
		go func() { r.by.pause(2 * time.Millisecond); twin.Cut() }()
	}
	for left := r.by.below(27); left > 0 && r.next < end && !r.t.Failed(); left-- {
		_, data, err := p.ReadMessage()
		if err != nil {
			return
		}
		r.take(strings.TrimPrefix(string(data), "4"))
	}
}

// take processes a packet.
func (r *reader) take(text string) {
	var body struct{ PID string }
	var args []string
	switch {
	case strings.HasPrefix(text, `0{"sid":"`) && json.Unmarshal([]byte(text[1:]), &body) == nil && body.PID != "":
		if r.pid != "" && r.pid != body.PID {
			r.t.Error("not recovered")
		}
		r.pid = body.PID
	case strings.HasPrefix(text, "2[") && json.Unmarshal([]byte(text[1:]), &args) == nil:
		if len(args) > 2 { // else it is a local event without an offset
			r.offset = args[2]
		}
		if args[1] == "besides" {
			return
		}
		i, err := strconv.Atoi(args[1])
		if err != nil || r.next >= 0 && i != r.next {
			r.t.Errorf("got %q, want %d", args[1], r.next)
		}
		r.next = i + 1
	case strings.HasPrefix(text, "4"):
		r.t.Errorf("refused: %s", text)
	}
}
