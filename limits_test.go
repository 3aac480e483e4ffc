package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

const tooMany = `{"message":"Too many namespaces"}`

func TestLimits_Auth(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{MaxAuthBytes: 1000}, func(t *testing.T, io *socketio.Server) {
		io.OfPattern(regexp.MustCompile(`.`))
		p := dial(t, io)
		auth := func(n int) string { return `{"a":"` + strings.Repeat("x", n-8) + `"}` }
		if got := p.enter("/a", auth(1000)); got != "connected" {
			t.Error(got)
		}
		if got := p.enter("/b", auth(1001)); got != `{"message":"Auth too large"}` {
			t.Error(got)
		}
		if got := p.enter("/b", ""); got != "connected" {
			t.Errorf("the connection after a refusal: %s", got)
		}
	})
}

// TestLimits_Auth_BoundsTheHeap: the server keeps the auth object of a CONNECT, once. Not parallel, because it measures
// the heap.
func TestLimits_Auth_BoundsTheHeap(t *testing.T) { //nolint:paralleltest // see above
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		io.OfPattern(regexp.MustCompile(`.`))
		p := dial(t, io)
		auth := `{"pid":"x","offset":"` + strings.Repeat("x", 64<<10-24) + `"}`
		before := heap()
		for i := range 64 {
			if got := p.enter(fmt.Sprint("/", i), auth); got != "connected" {
				t.Fatal(got)
			}
		}
		synctest.Wait()
		if kept := heap() - before; kept > 64*(64<<10)*5/4 {
			t.Errorf("64 auth objects of 64 KiB keep %d KiB", kept>>10)
		}
		runtime.KeepAlive(io)
	})
}

// TestConnectsRefused_LeaveATrace: a client that the server refuses is counted, and a Debug line contains the reason.
func TestConnectsRefused_LeaveATrace(t *testing.T) {
	t.Parallel()
	var log journal
	bubble(t, &socketio.Options{
		MaxAuthBytes: 1000, MaxNamespaces: 3, MaxDynamicNamespaces: 1, EventsPerSecond: 1000, ThrottleTimeout: time.Second,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, func(t *testing.T, io *socketio.Server) {
		io.OfPattern(regexp.MustCompile(`^/dynamic`))
		io.OfFunc(func(_ context.Context, name string, _ *socketio.Handshake) (bool, error) {
			return strings.HasPrefix(name, "/asked"), nil
		})
		io.Of("/a")
		io.Of("/b")
		io.Of("/middleware").Use(func(context.Context, *socketio.Socket) error { return &socketio.Error{Message: "the application's"} })
		p := dial(t, io)
		for _, step := range []struct{ namespace, auth, answer string }{
			{"/a", `{"a":"` + strings.Repeat("x", 1000) + `"}`, `{"message":"Auth too large"}`},
			{"/unknown", "", `{"message":"Invalid namespace"}`},
			{"/middleware", "", `{"message":"the application's"}`},
			{"/dynamic1", "", "connected"},
			{"/dynamic2", "", tooMany},
			{"/asked", "", tooMany},
			{"/b", "", "connected"},
			{"/a", "", "connected"},
			{"/middleware", "", tooMany},
		} {
			if got := p.enter(step.namespace, step.auth); got != step.answer {
				t.Errorf("%s: %s, want %s", step.namespace, got, step.answer)
			}
		}
		want := map[string]uint64{"Auth too large": 1, "Invalid namespace": 1, "Too many namespaces": 3}
		if got := io.Stats().ConnectsRefused; !maps.Equal(got, want) {
			t.Errorf("counted %v, want %v", got, want)
		}
		for range 3000 {
			p.WriteRaw(clientFrame(1, "6"))
		}
		p.closed()
		synctest.Wait()
		if n := io.Stats().RateLimited; n != 1 {
			t.Errorf("%d connections counted that exceeded the rates", n)
		}
		for line, want := range map[string]int{
			`msg="CONNECT refused"`: 5, `namespace=/dynamic2 reason="Too many namespaces"`: 1, `msg="connection closed" reason="forced close" error="client exceeded the rates`: 1,
		} {
			if got := log.count(line); got != want {
				t.Errorf("%d lines with %s, want %d", got, line, want)
			}
		}
	})
}

func TestLimits_ArgumentsAndDepth(t *testing.T) {
	t.Parallel()
	array := func(n int) string { return "[" + strings.Repeat("0,", n-1) + "0]" }
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	event := func(data string) string { return `2["x",` + data[1:] }
	for name, row := range map[string]struct {
		opts        *socketio.Options
		most, above string
	}{
		"arguments": {&socketio.Options{MaxArguments: 5}, event(array(4)), event(array(5))},
		"depth":     {&socketio.Options{MaxDepth: 5}, `2["x",` + nested(4) + `]`, `2["x",` + nested(5) + `]`},
		"answer":    {&socketio.Options{MaxArguments: 5}, "31" + array(5), "31" + array(6)},
		"default":   {nil, event(array(65_535)), event(array(65_536))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, row.opts, func(t *testing.T, io *socketio.Server) {
				p := connected(t, io)
				p.WriteText(row.most)
				synctest.Wait()
				if n := io.Connections(); n != 1 {
					t.Fatal("the connection is gone after a packet within the limit")
				}
				p.WriteText(row.above)
				p.closed()
			})
		})
	}
}

func TestLimits_NamespaceName(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		io.OfPattern(regexp.MustCompile(`.`))
		p := dial(t, io)
		if got := p.enter("/"+strings.Repeat("n", 999), ""); got != "connected" {
			t.Error(got)
		}
		p.WriteText("0/" + strings.Repeat("n", 1000) + ",")
		p.closed()
	})
}

func TestLimits_DynamicNamespaces(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]bool{"pattern": false, "func": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, &socketio.Options{MaxDynamicNamespaces: 3}, func(t *testing.T, io *socketio.Server) {
				var parent *socketio.ParentNamespace
				if ask {
					parent = io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { return true, nil })
				} else {
					parent = io.OfPattern(regexp.MustCompile(`^/n`))
				}
				told := make(map[string]int)
				io.OnNamespace(func(n *socketio.Namespace) { told[n.Name()]++ })
				io.Of("/n-static")
				p, q := dial(t, io), dial(t, io)
				for i := range 3 {
					if got := p.enter(fmt.Sprint("/n", i), ""); got != "connected" {
						t.Fatal(got)
					}
				}
				if got := q.enter("/n3", ""); got != tooMany {
					t.Errorf("while all have sockets: %s", got)
				}
				if got := q.enter("/n2", ""); got != "connected" {
					t.Errorf("one that exists: %s", got)
				}
				p.WriteText("1/n1,")
				synctest.Wait()
				p.WriteText("1/n0,")
				synctest.Wait()
				if got := strings.TrimPrefix(names(parent), "/n-static "); got != "/n0 /n1 /n2" {
					t.Errorf("without need: %s", got)
				}
				if got := q.enter("/n3", ""); got != "connected" {
					t.Error(got)
				}
				if got := strings.TrimPrefix(names(parent), "/n-static "); got != "/n0 /n2 /n3" {
					t.Errorf("the one without sockets for longest is there: %s", got)
				}
				io.Of("/n0") // the application's from now on
				for i := range 5 {
					name := fmt.Sprint("/n9", i)
					if got := q.enter(name, ""); got != "connected" {
						t.Errorf("%s: %s", name, got)
					}
					q.WriteText("1" + name + ",")
					synctest.Wait()
				}
				if got := strings.TrimPrefix(names(parent), "/n-static "); got != "/n0 /n2 /n3 /n94" {
					t.Errorf("the application's are gone: %s", got)
				}
				if got := p.enter("/n1", ""); got != "connected" || told["/n1"] != 2 || told["/n0"] != 1 {
					t.Errorf("again: %s, observed %v", got, told)
				}
			})
		})
	}
}

// A client asks for one namespace after the other: the memory stays bounded. Not
// parallel, because it measures the heap.
func TestLimits_DynamicNamespaces_BoundTheHeap(t *testing.T) { //nolint:paralleltest // see above
	bubble(t, &socketio.Options{MaxDynamicNamespaces: 100}, func(t *testing.T, io *socketio.Server) {
		io.OfPattern(regexp.MustCompile(`.`))
		ask := func(round int) int {
			p := dial(t, io)
			for i := range 1000 {
				name := fmt.Sprintf("/%d-%d-%s", round, i, strings.Repeat("n", 900))
				if got := p.enter(name, ""); got != "connected" {
					t.Fatal(got)
				}
				p.WriteText("1" + name + ",")
			}
			synctest.Wait()
			p.Cut()
			synctest.Wait()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		first := ask(0)
		if grown := ask(1) - first; grown > 1<<20 {
			t.Errorf("a thousand namespaces more have left %d KiB", grown>>10)
		}
	})
}

func TestLimits_Rooms(t *testing.T) {
	t.Parallel()
	many := func(from, to int) []socketio.Room {
		var rooms []socketio.Room
		for i := from; i < to; i++ {
			rooms = append(rooms, socketio.Room(fmt.Sprintf("room %04d", i)))
		}
		return rooms
	}
	// In middleware, and connected.
	check := func(t *testing.T, s *socketio.Socket) {
		t.Helper()
		ctx := t.Context()
		do(t, s.Join(ctx, many(0, 99)...))
		if err := s.Join(ctx, many(98, 101)...); !errors.Is(err, socketio.ErrTooManyRooms) {
			t.Errorf("101 rooms: %v", err)
		}
		if n := len(slices.Collect(s.Rooms())); n != 100 {
			t.Errorf("in %d rooms, its own among them, want 100", n)
		}
		do(t, s.Join(ctx, slices.Concat(many(50, 100), many(50, 100))...))
		do(t, s.Join(ctx, many(0, 100)...))
		do(t, s.Join(ctx, socketio.Room(s.ID())))
		if err := s.Join(ctx, "one more"); !errors.Is(err, socketio.ErrTooManyRooms) {
			t.Errorf("101 rooms: %v", err)
		}
		do(t, s.Leave(ctx, many(0, 60)...))
		if err := s.Join(ctx, "a", socketio.Room(strings.Repeat("x", 200)), socketio.Room(strings.Repeat("y", 200)), socketio.Room(strings.Repeat("z", 200))); !errors.Is(err, socketio.ErrTooManyRooms) {
			t.Errorf("1,000 bytes: %v", err)
		}
		if n := len(slices.Collect(s.Rooms())); n != 41 {
			t.Errorf("in %d rooms, its own among them, want 41", n)
		}
		do(t, s.Leave(ctx, many(0, 100)...))
		do(t, s.Join(ctx, many(0, 100)...))
	}
	bubble(t, &socketio.Options{MaxRooms: 100, MaxRoomBytes: 901}, func(t *testing.T, io *socketio.Server) {
		emit(t, io, "that the log is not empty")
		io.Use(func(_ context.Context, s *socketio.Socket) error {
			check(t, s)
			return nil
		})
		connected(t, io)
		s := only(t, io)
		if n := len(slices.Collect(s.Rooms())); n != 101 {
			t.Errorf("in %d rooms, its own among them, want 101", n)
		}
		do(t, s.Leave(t.Context(), many(0, 100)...))
		check(t, s)
		do(t, io.All().Join(t.Context(), many(0, 200)...)) // by the application
		if n := len(slices.Collect(s.Rooms())); n != 201 {
			t.Errorf("in %d rooms, its own among them, want 201", n)
		}
		do(t, s.Join(t.Context(), "room 0150"))
	})
}
