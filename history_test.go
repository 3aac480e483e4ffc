package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

const earlier socketio.History = "earlier"

// histories lets clients join rooms with their histories, and leave.
func histories(server *socketio.Server, past socketio.Past) {
	join.On(server, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, earlier.Join(ctx, s, socketio.Room(room), past)
	})
	leave.On(server, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, s.Leave(ctx, socketio.Room(room))
	})
}

// joinRoom requests a join, and returns the history, which comes before the answer.
func (p *peer) joinRoom(room string) string {
	p.t.Helper()
	before := len(p.drain())
	p.WriteText(`27["join","` + room + `"]`)
	synctest.Wait()
	for {
		text := p.ReadText()
		if strings.HasPrefix(text, "37") {
			break
		}
		p.event(text)
	}
	if events := p.events[before:]; len(events) == 1 {
		return events[0]
	} else if len(events) > 1 {
		p.t.Errorf("a join yielded %q", events)
	}
	return ""
}

func (p *peer) wantHistory(got, want string) {
	p.t.Helper()
	if got != want {
		p.t.Errorf("got %s, want %s", got, want)
	}
}

func TestHistory_Join_EventsOfTheRoom(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		histories(io, socketio.Past{})
		other, p := connected(t, io), connected(t, io)
		emit(t, io.To("red"), "1")
		emit(t, io, "to all")
		emit(t, io.To("blue"), "of another room")
		emit(t, io.To("red").To("blue"), "2")
		emit(t, io.To("red").Volatile(), "volatile")
		emit(t, io.To("red").Local(), "local")
		emit(t, io.Of("/other").To("red"), "of another namespace")
		emit(t, io.To(socketio.Room(p.id)), "private")
		emit(t, io.To("red").Except(socketio.Room(p.id)), "not for this socket")
		emit(t, io.To("red").Except(socketio.Room(other.id)), "3")
		emit(t, io.To("red").Except("red"), "for nobody")
		p.wantHistory(p.joinRoom("red"), `earlier map[complete:true events:[[said 1] [said 2] [said 3]] room:red]`)
		emit(t, io.To("red"), "4")
		p.wantHistory(p.joinRoom("red"), "") // it is in the room already
		p.wantEvents("said to all", "said private", `earlier map[complete:true events:[[said 1] [said 2] [said 3]] room:red]`, "said 4")
		p.ask(`["leave","red"]`)
		emit(t, io.To("red"), "5")
		p.wantHistory(p.joinRoom("red"), `earlier map[complete:true events:[[said 1] [said 2] [said 3] [said 4] [said 5]] room:red]`)
	})
}

// past emits to the room "red", and returns the history that a new client gets.
func past(t *testing.T, opts *socketio.Options, past socketio.Past, test func(t *testing.T, io *socketio.Server), want string) {
	t.Helper()
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		histories(io, past)
		test(t, io)
		p := connected(t, io)
		p.wantHistory(p.joinRoom("red"), want)
	})
}

func emitNumbers(t *testing.T, io *socketio.Server) {
	t.Helper()
	for _, n := range []string{"1", "2", "3", "4"} {
		emit(t, io.To("red"), n)
	}
}

func TestHistory_Join_Last(t *testing.T) {
	t.Parallel()
	past(t, nil, socketio.Past{Last: 2}, emitNumbers, `earlier map[complete:true events:[[said 3] [said 4]] room:red]`)
	past(t, nil, socketio.Past{Last: 5}, emitNumbers, `earlier map[complete:true events:[[said 1] [said 2] [said 3] [said 4]] room:red]`)
}

func TestHistory_Join_NothingEmitted(t *testing.T) {
	t.Parallel()
	past(t, nil, socketio.Past{}, func(*testing.T, *socketio.Server) {}, `earlier map[complete:true events:[] room:red]`)
}

func TestHistory_Join_Only(t *testing.T) {
	t.Parallel()
	past(t, nil, socketio.Past{Last: 2, Only: []string{"said", `o"dd`}}, func(t *testing.T, io *socketio.Server) {
		t.Helper()
		emit(t, io.To("red"), "1")
		do(t, socketio.Event[int](`o"dd`).Emit(t.Context(), io.To("red"), 2))
		do(t, socketio.Event[int](`other`).Emit(t.Context(), io.To("red"), 3))
	}, `earlier map[complete:true events:[[said 1] [o"dd 2]] room:red]`)
}

func TestHistory_Join_Since(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		emit(t, io.To("red"), "1")
		time.Sleep(time.Second)
		since := time.Now()
		histories(io, socketio.Past{Since: since})
		emit(t, io.To("red"), "2")
		p := connected(t, io)
		p.wantHistory(p.joinRoom("red"), `earlier map[complete:true events:[[said 2]] room:red]`)
		time.Sleep(4*time.Minute + 59*time.Second + 500*time.Millisecond) // the log no longer has 1
		q := connected(t, io)
		q.wantHistory(q.joinRoom("red"), `earlier map[complete:false events:[[said 2]] room:red]`)
	})
}

func TestHistory_Join_Limits(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		limits socketio.HistoryLimits
		past   socketio.Past
		want   string
	}{
		"events":             {socketio.HistoryLimits{Events: 3}, socketio.Past{}, `[[said 2] [said 3] [said 4]]`},
		"events, and Last":   {socketio.HistoryLimits{Events: 3}, socketio.Past{Last: 4}, `[[said 2] [said 3] [said 4]]`},
		"bytes":              {socketio.HistoryLimits{Bytes: 3 * len(`["said","1"],`)}, socketio.Past{}, `[[said 2] [said 3] [said 4]]`},
		"bytes for no event": {socketio.HistoryLimits{Bytes: 1}, socketio.Past{}, `[]`},
		"bytes of the log":   {socketio.HistoryLimits{ReadBytes: 100}, socketio.Past{Only: []string{"none"}}, `[]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			past(t, &socketio.Options{History: row.limits}, row.past, emitNumbers, "earlier map[complete:false events:"+row.want+" room:red]")
		})
	}
}

// Clients accept ten attachments in an event, and take what looks like a placeholder for one.
func TestHistory_Join_Binary(t *testing.T) {
	t.Parallel()
	const blobs socketio.Event[[]socketio.Binary] = "blobs"
	const object socketio.Event[json.RawMessage] = "object"
	lookalike := json.RawMessage(`{"_placeholder":true,"num":0}`)
	send := func(t *testing.T, io *socketio.Server, data ...string) {
		t.Helper()
		var all []socketio.Binary
		for _, d := range data {
			all = append(all, socketio.Binary(d))
		}
		do(t, blobs.Emit(t.Context(), io.To("red"), all))
	}
	for name, row := range map[string]struct {
		emit func(t *testing.T, io *socketio.Server)
		want string // the packet; then the attachments
	}{
		"renumbered": {func(t *testing.T, io *socketio.Server) {
			t.Helper()
			send(t, io, "a", "b")
			emit(t, io.To("red"), `{"_placeholder":true,"num":0}`)
			send(t, io, "c")
		}, `53-["earlier",{"room":"red","events":[["blobs",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]],["said","{\"_placeholder\":true,\"num\":0}"],["blobs",[{"_placeholder":true,"num":2}]]],"complete":true}] a b c`},
		"too many": {func(t *testing.T, io *socketio.Server) {
			t.Helper()
			send(t, io, "1", "2", "3", "4", "5", "6")
			send(t, io, "7", "8", "9", "10", "11")
		}, `55-["earlier",{"room":"red","events":[["blobs",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2},{"_placeholder":true,"num":3},{"_placeholder":true,"num":4}]]],"complete":false}] 7 8 9 10 11`},
		"lookalike before": {func(t *testing.T, io *socketio.Server) {
			t.Helper()
			do(t, object.Emit(t.Context(), io.To("red"), lookalike))
			send(t, io, "a")
		}, `51-["earlier",{"room":"red","events":[["blobs",[{"_placeholder":true,"num":0}]]],"complete":false}] a`},
		"lookalike after": {func(t *testing.T, io *socketio.Server) {
			t.Helper()
			send(t, io, "a")
			do(t, object.Emit(t.Context(), io.To("red"), lookalike))
		}, `2["earlier",{"room":"red","events":[["object",{"_placeholder":true,"num":0}]],"complete":false}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, &socketio.Options{Recovery: socketio.Recovery{Disabled: true}}, func(t *testing.T, io *socketio.Server) {
				histories(io, socketio.Past{})
				row.emit(t, io)
				p := connected(t, io)
				p.WriteText(`27["join","red"]`)
				var got []string
				for {
					_, data, err := p.ReadMessage()
					do(t, err)
					if string(data) == "37[]" {
						break
					}
					got = append(got, string(data))
				}
				if strings.Join(got, " ") != row.want {
					t.Errorf("got  %s\nwant %s", strings.Join(got, " "), row.want)
				}
			})
		})
	}
}

// A history that the client has not processed comes in the replay at its place, and one that
// it has processed does not come again.
func TestHistory_Join_Replayed(t *testing.T) {
	t.Parallel()
	const history = `earlier map[complete:true events:[[said 1]] room:red]`
	for name, processed := range map[string]int{"none": 1, "history": 2, "all": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				histories(io, socketio.Past{})
				emit(t, io.To("red"), "1")
				p := connected(t, io)
				emit(t, io, "2")
				p.WriteText(`27["join","red"]`)
				synctest.Wait()
				emit(t, io.To("red"), "3")
				synctest.Wait()
				want := []string{"said 2", history, "said 3"}
				for len(p.events) < processed {
					if text := p.ReadText(); !strings.HasPrefix(text, "37") {
						p.event(text)
					}
				}
				p.Cut()
				synctest.Wait()
				emit(t, io.To("red"), "4")
				back := p.comeBackUncut(io)
				if back.wantEvents(append(want[processed:], "said 4")...); back.id != p.id {
					t.Error("not recovered")
				}
				back.comeBack(io).wantEvents()
			})
		})
	}
}

// Middleware runs again for a recovered client, which is in the room already.
func TestHistory_Join_Middleware(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*socketio.Options{
		"recovery":    nil,
		"no recovery": {Recovery: socketio.Recovery{Disabled: true}},
		"opt-out":     {Recovery: socketio.Recovery{OptOut: func(string, *socketio.Handshake) bool { return true }}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				io.Use(func(ctx context.Context, s *socketio.Socket) error {
					was := s.In("red")
					if err := earlier.Join(ctx, s, "red", socketio.Past{Last: 1}); err != nil || s.In("red") != was {
						t.Errorf("%v, in the room: %v, was %v", err, s.In("red"), was)
					}
					return earlier.Join(ctx, s, "blue", socketio.Past{})
				})
				io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
					if !s.In("red") || !s.In("blue") {
						t.Error("not in the rooms when it is connected")
					}
					return nil
				})
				emit(t, io.To("red"), "1")
				emit(t, io.To("red"), "2")
				p := connected(t, io)
				emit(t, io.To("red"), "3")
				p.wantEvents(`earlier map[complete:true events:[[said 2]] room:red]`, `earlier map[complete:true events:[] room:blue]`, "said 3")
				if opts == nil {
					back := p.comeBack(io)
					emit(t, io.To("blue"), "4")
					back.wantEvents("said 4")
				}
			})
		})
	}
}

func TestHistory_Join_Errors(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{MaxRooms: 1}, func(t *testing.T, io *socketio.Server) {
		p, q := connected(t, io), connected(t, io)
		s := socketOf(t, io, p.id)
		for want, err := range map[error]error{
			socketio.ErrSocketRoom: errors.Join(
				wrong(socketio.ErrSocketRoom, earlier.Join(t.Context(), s, socketio.Room(q.id), socketio.Past{})),
				wrong(socketio.ErrSocketRoom, earlier.Join(t.Context(), s, socketio.Room(p.id), socketio.Past{}))),
			socketio.ErrRoomName: wrong(socketio.ErrRoomName, earlier.Join(t.Context(), s, "", socketio.Past{})),
			socketio.ErrReserved: errors.Join(
				wrong(socketio.ErrReserved, socketio.History("").Join(t.Context(), s, "red", socketio.Past{})),
				wrong(socketio.ErrReserved, socketio.History("connect").Join(t.Context(), s, "red", socketio.Past{}))),
			socketio.ErrTooManyRooms: errors.Join(earlier.Join(t.Context(), s, "red", socketio.Past{}),
				wrong(socketio.ErrTooManyRooms, earlier.Join(t.Context(), s, "blue", socketio.Past{}))),
		} {
			if err != nil {
				t.Errorf("%v: %v", want, err)
			}
		}
		p.wantEvents(`earlier map[complete:true events:[] room:red]`)
		p.Cut()
		synctest.Wait()
		var gone *socketio.DisconnectError
		if err := earlier.Join(t.Context(), s, "blue", socketio.Past{}); !errors.As(err, &gone) {
			t.Errorf("after the connection: %v", err)
		}
	})
}

// wrong returns nil if the error is the one that is wanted.
func wrong(want, err error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("got %w", err)
}

// Two joins at a time yield one history.
func TestHistory_Join_Concurrent(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		emit(t, io.To("red"), "1")
		p := connected(t, io)
		s := only(t, io)
		var joins sync.WaitGroup
		for range 20 {
			joins.Go(func() { do(t, earlier.Join(t.Context(), s, "red", socketio.Past{})) })
		}
		joins.Wait()
		p.Cut()
		synctest.Wait()
		p.comeBackUncut(io).wantEvents(`earlier map[complete:true events:[[said 1]] room:red]`)
	})
}

// What was emitted before an operation that disconnects the socket reaches it first, behind a
// history, too.
func TestHistory_Join_ThenDisconnect(t *testing.T) {
	t.Parallel()
	log := &stuckRooms{Memory: adapter.NewMemory(nil), proceed: make(chan struct{})}
	bubbleOn(t, log, func(t *testing.T, io *socketio.Server) {
		emit(t, io.To("red"), "1")
		p := connected(t, io)
		s := only(t, io)
		go func() { _ = earlier.Join(t.Context(), s, "red", socketio.Past{}) }()
		synctest.Wait()
		emit(t, io.To("red"), "2")
		emit(t, io.To("red").Volatile(), "volatile")
		do(t, io.To("red").Disconnect(t.Context()))
		emit(t, io.To("red"), "3")
		p.wantEvents()
		close(log.proceed)
		synctest.Wait()
		for p.Waiting() > 0 {
			if text := p.ReadText(); text == "1" {
				p.events = append(p.events, "disconnected")
			} else {
				p.event(text)
			}
		}
		p.wantEvents(`earlier map[complete:true events:[[said 1]] room:red]`, "said 2", "disconnected")
	})
}

// While a history waits, the socket leaves the room, changes others, and loses its connection.
func TestHistory_Join_CutWhileRead(t *testing.T) {
	t.Parallel()
	log := &stuckRooms{Memory: adapter.NewMemory(nil), proceed: make(chan struct{})}
	bubbleOn(t, log, func(t *testing.T, io *socketio.Server) {
		emit(t, io.To("red"), "1")
		p := connected(t, io)
		s := only(t, io)
		go func() { _ = earlier.Join(t.Context(), s, "red", socketio.Past{}) }()
		synctest.Wait()
		emit(t, io.To("red"), "2")
		do(t, s.Leave(t.Context(), "red"))
		emit(t, io.To("red"), "3")
		do(t, s.Join(t.Context(), "blue"))
		emit(t, io.To("blue"), "4")
		p.Cut()
		synctest.Wait()
		close(log.proceed)
		back := p.comeBackUncut(io)
		back.wantEvents(`earlier map[complete:true events:[[said 1]] room:red]`, "said 2", "said 4")
		if back.id != p.id {
			t.Error("not recovered")
		}
	})
}

// stuckRooms is a log whose ReadRoom waits.
type stuckRooms struct {
	*adapter.Memory

	proceed chan struct{}
}

func (l *stuckRooms) ReadRoom(ctx context.Context, namespace, room string, to adapter.Position) iter.Seq2[adapter.PastDelivery, error] {
	return func(yield func(adapter.PastDelivery, error) bool) {
		select {
		case <-l.proceed:
		case <-ctx.Done():
			yield(adapter.PastDelivery{}, context.Cause(ctx))
			return
		}
		l.Memory.ReadRoom(ctx, namespace, room, to)(yield)
	}
}

func bubbleOn(t *testing.T, log *stuckRooms, test func(t *testing.T, io *socketio.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log.proceed = make(chan struct{})
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}})
		test(t, io)
		do(t, io.Shutdown(t.Context()))
	})
}

func socketOf(t *testing.T, io *socketio.Server, id string) *socketio.Socket {
	t.Helper()
	for s := range io.Sockets() {
		if string(s.ID()) == id {
			return s
		}
	}
	t.Fatalf("no socket %s", id)
	return nil
}
