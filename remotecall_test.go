package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
)

// callOne calls one socket and returns the result as text.
func callOne(ctx context.Context, to socketio.Callee) string {
	years, err := age.Call(ctx, to, "years")
	return fmt.Sprint(years, " ", err)
}

// startCallOne starts a call, and returns when it waits or has ended.
func startCallOne(ctx context.Context, to socketio.Callee) <-chan string {
	result := make(chan string, 1)
	go func() { result <- callOne(ctx, to) }()
	synctest.Wait()
	return result
}

// remote returns the socket of a peer, for a node.
func remote(node *socketio.Server, p *peer) *socketio.RemoteSocket {
	return node.RemoteSocket(socketio.SocketID(p.id))
}

// wantAtOnce checks the result of a call that has ended, without time having passed since begun.
func wantAtOnce(t *testing.T, what string, result <-chan string, begun time.Time, want string) {
	t.Helper()
	if got := <-result; got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
	if took := time.Since(begun); took != 0 {
		t.Errorf("%s: it ended after %v", what, took)
	}
}

func TestCall_SocketOfAnyNode(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		p, other := connected(t, b), connected(t, b)
		begun := time.Now()
		result := startCallOne(t.Context(), remote(a, p))
		p.answers("[41]")
		wantAtOnce(t, "by its id", result, begun, "41 <nil>")
		for s, err := range a.To(socketio.Room(p.id)).Fetch(t.Context()) {
			do(t, err)
			result = startCallOne(t.Context(), s)
			p.answers("[42]")
			wantAtOnce(t, "fetched", result, begun, "42 <nil>")
		}
		_, before := log.Extent()
		for _, s := range []socketio.Callee{remote(b, p), only2(b, p)} {
			result = startCallOne(t.Context(), s)
			p.answers("[43]")
			wantAtOnce(t, "of this node", result, begun, "43 <nil>")
		}
		if _, after := log.Extent(); after != before {
			t.Errorf("%d records for calls to sockets of the same node", after-before)
		}
		for _, node := range []*socketio.Server{a, b} {
			result = startCallOne(t.Context(), node.Of("/other").RemoteSocket(socketio.SocketID(p.id)))
			wantAtOnce(t, "of another namespace", result, begun, "0 call age: socket is not connected")
		}
		p.wantEvents()
		other.wantEvents()
	})
}

// gone returns the id of a socket that has left.
func gone(t *testing.T, node *socketio.Server) socketio.SocketID {
	t.Helper()
	p := connected(t, node)
	p.WriteText("1")
	synctest.Wait()
	return socketio.SocketID(p.id)
}

// leave publishes that a node has left, by its index. The node does not know.
func (s *second) leave(t *testing.T, node int) {
	t.Helper()
	_, err := s.Publish(t.Context(), &adapter.Envelope{Kind: adapter.NodeLeft, Payload: []byte(s.locals[node].ID())})
	do(t, err)
	synctest.Wait()
}

// wantPending checks that a call has not ended.
func wantPending(t *testing.T, what string, result <-chan string) {
	t.Helper()
	select {
	case got := <-result:
		t.Fatalf("%s: it ended with %s", what, got)
	default:
	}
}

// The call ends with the outcome, and does not wait for nodes that cannot change it.
func TestCall_OutcomeIsKnown_EndsAtOnce(t *testing.T) {
	t.Parallel()
	threeNodes(t, func(t *testing.T, log *second, a, b, c *socketio.Server) {
		nobody := a.RemoteSocket(gone(t, b))
		p, q, r := connected(t, c), connected(t, c), connected(t, c)
		begun := time.Now()
		wantAtOnce(t, "nobody", startCallOne(t.Context(), nobody), begun, "0 call age: socket is not connected")
		log.lag.Store(true) // b does not answer any more
		result := startCallOne(t.Context(), remote(a, p))
		p.answers("[1]")
		wantAtOnce(t, "answered", result, begun, "1 <nil>")
		result = startCallOne(t.Context(), remote(a, p))
		p.ReadText()
		p.Cut()
		wantAtOnce(t, "cut", result, begun, "0 call age: socket disconnected: transport close")

		result = startCallOne(t.Context(), nobody)
		wantPending(t, "a node may have the socket", result)
		log.leave(t, 1)
		wantAtOnce(t, "that node left", result, begun, "0 call age: node node-1: node left the cluster")

		result = startCallOne(t.Context(), remote(a, q))
		id := ackID(t, q.ReadText())
		log.leave(t, 1)
		wantPending(t, "a node without the socket left", result)
		q.WriteText("3" + id + "[3]")
		wantAtOnce(t, "and the socket answered", result, begun, "3 <nil>")

		result = startCallOne(t.Context(), remote(a, r))
		log.leave(t, 2)
		wantAtOnce(t, "the node of the socket left", result, begun, "0 call age: node node-2: node left the cluster")
		log.catchUp()
	})
}

func TestCall_Errors_AreToldApart(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		p := connected(t, b)
		call := func(ctx context.Context, to socketio.Callee, answer func()) error {
			result := make(chan error, 1)
			go func() {
				_, err := age.Call(ctx, to, "years")
				result <- err
			}()
			synctest.Wait()
			answer()
			return <-result
		}
		silent := func() {}
		cause := errors.New("the user has closed the dialog")
		canceled, cancel := context.WithCancelCause(t.Context())
		short, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		large := func(e *adapter.Envelope) (*adapter.Envelope, error) {
			if e.Size() > 1000 {
				return nil, adapter.ErrTooLarge
			}
			return e, nil
		}
		begun := time.Now()
		if err := call(canceled, remote(a, p), func() { cancel(cause) }); !errors.Is(err, cause) {
			t.Errorf("canceled: %v", err)
		}
		if err := call(short, remote(a, p), silent); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("deadline: %v after %v", err, time.Since(begun))
		}
		begun = time.Now()
		if err := call(t.Context(), remote(a, p), silent); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 30*time.Second {
			t.Errorf("Options.AckTimeout: %v after %v", err, time.Since(begun))
		}
		p.drain()
		if err := call(t.Context(), remote(a, p), func() { p.answers(`["two"]`) }); err == nil || !strings.Contains(err.Error(), "answer to age") {
			t.Errorf("answer of another type: %v", err)
		}
		log.onPublish = large
		err := call(t.Context(), remote(a, p), func() { p.answers(`["` + strings.Repeat("x", 2000) + `"]`) })
		if e, ok := errors.AsType[*socketio.Error](err); !ok || e.Code != socketio.CodeInternal {
			t.Errorf("large answer: %v", err)
		}
		if _, err := age.Call(t.Context(), remote(a, p), strings.Repeat("x", 2000)); !errors.Is(err, adapter.ErrTooLarge) {
			t.Errorf("large request: %v", err)
		}
		log.onPublish = nil
		err = call(t.Context(), remote(a, p), p.Cut)
		if e, ok := errors.AsType[*socketio.DisconnectError](err); !ok || e.Reason != socketio.ReasonTransportClose || errors.Is(err, socketio.ErrNotConnected) {
			t.Errorf("disconnected: %v", err)
		}
		err = call(t.Context(), remote(a, p), silent)
		if _, ok := errors.AsType[*socketio.DisconnectError](err); ok || !errors.Is(err, socketio.ErrNotConnected) {
			t.Errorf("away: %v", err)
		}
		q := connected(t, b)
		err = call(t.Context(), remote(a, q), func() { do(t, b.Shutdown(t.Context())) })
		if e, ok := errors.AsType[*socketio.DisconnectError](err); !ok || e.Reason != socketio.ReasonServerShutdown {
			t.Errorf("its node shuts down: %v", err)
		}
	})
}

// A text that is the id of no socket may be the name of a room, which a client has sent.
func TestRemoteSocket_NameOfARoom_IsNobody(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		p, q := connected(t, a), connected(t, b)
		do(t, a.All().Join(t.Context(), "r"))
		_, before := log.Extent()
		for _, name := range []socketio.SocketID{"r", "", socketio.SocketID(strings.Repeat("r", 300))} {
			room := a.RemoteSocket(name)
			if _, err := age.Call(t.Context(), room, "years"); !errors.Is(err, socketio.ErrNotConnected) {
				t.Errorf("%q was called: %v", name, err)
			}
			emit(t, room, "to one socket")
			do(t, room.Join(t.Context(), "s"))
			do(t, room.Leave(t.Context(), "r"))
			do(t, room.Disconnect(t.Context()))
		}
		if _, after := log.Extent(); after != before {
			t.Errorf("%d records", after-before)
		}
		emit(t, a.To("s"), "s")
		emit(t, a.To("r"), "r")
		p.wantEvents("said r")
		q.wantEvents("said r")
	})
}

// The application may put other sockets into the room of an id.
func TestCall_RoomOfTheSocket_IsNotAsked(t *testing.T) {
	t.Parallel()
	for name, onPublish := range map[string]func(e *adapter.Envelope) (*adapter.Envelope, error){
		"": nil,
		// A node of an earlier version does not know the socket in the request, and asks the room.
		"earlier version": func(e *adapter.Envelope) (*adapter.Envelope, error) {
			if e.Kind != adapter.Request {
				return e, nil
			}
			line, body, _ := strings.Cut(string(e.Payload), "\n")
			var head map[string]any
			if err := json.Unmarshal([]byte(line), &head); err != nil {
				return nil, err
			}
			delete(head, "socket")
			former := *e
			known, err := json.Marshal(head)
			former.Payload = []byte(string(known) + "\n" + body)
			return &former, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			threeNodes(t, func(t *testing.T, log *second, a, b, c *socketio.Server) {
				p, there, away, silent := connected(t, b), connected(t, c), connected(t, c), connected(t, c)
				do(t, a.All().Join(t.Context(), socketio.Room(p.id)))
				log.onPublish = onPublish
				log.lag.Store(true) // b answers last
				result := startCallOne(t.Context(), remote(a, p))
				if onPublish != nil {
					there.answers("[3]")
					away.Cut()
					silent.ReadText()
					synctest.Wait()
				}
				log.leave(t, 2)
				wantPending(t, "others have answered, or left", result)
				log.catchUp()
				p.answers("[1]")
				wantAtOnce(t, "the socket answered", result, time.Now(), "1 <nil>")
				there.wantEvents()
			})
		})
	}
}

// While a client moves to a node that is behind its former one, the socket is on one node at each position of the log: it
// is asked, and found, once, and receives a volatile event once.
func TestRecovery_ClientMoves_SocketIsOnOneNodeAtEachPosition(t *testing.T) {
	t.Parallel()
	threeNodes(t, func(t *testing.T, log *second, a, b, c *socketio.Server) {
		former := connected(t, c)
		var moved *adapter.Envelope
		log.onPublish = func(e *adapter.Envelope) (*adapter.Envelope, error) {
			if e.Kind == adapter.SessionMoved && moved == nil {
				moved = e
				log.append = make(chan struct{})
				return nil, nil
			}
			return e, nil
		}
		now := dial(t, b)
		now.WriteText("0" + former.ticket())
		synctest.Wait() // b has claimed the session, and c does not know
		if moved == nil {
			t.Fatal("the session was not claimed")
		}
		result := startCallOne(t.Context(), remote(a, former))
		found := 0
		for _, err := range a.All().Fetch(t.Context()) {
			do(t, err)
			found++
		}
		do(t, said.Emit(t.Context(), a.Volatile(), "once"))
		if n := now.Waiting(); found != 1 || n != 0 {
			t.Errorf("found %d times, %d messages on the new connection", found, n)
		}
		id := ackID(t, former.ReadText())
		former.wantEvents("said once")
		begun := time.Now()
		_, err := log.Publish(t.Context(), moved)
		do(t, err)
		close(log.append)
		wantAtOnce(t, "taken over", result, begun, "0 call age: socket disconnected: session taken over")
		now.connects()
		second := startCallOne(t.Context(), remote(a, now))
		now.WriteText("3" + id + "[1]") // the answer to the first request
		synctest.Wait()
		wantPending(t, "a late answer to another request", second)
		now.answers("[2]")
		wantAtOnce(t, "answered", second, begun, "2 <nil>")
	})
}

// The former connection is lost before its client has returned: no other node has asked it.
func TestCall_TakenOverBeforeTheRequest_IsDisconnected(t *testing.T) {
	t.Parallel()
	threeNodes(t, func(t *testing.T, _ *second, a, b, c *socketio.Server) {
		former := connected(t, b)
		result := startCallOne(t.Context(), remote(a, former))
		id := ackID(t, former.ReadText())
		now := former.comeBackUncut(c)
		wantAtOnce(t, "taken over", result, time.Now(), "0 call age: socket disconnected: session taken over")
		second := startCallOne(t.Context(), remote(a, now))
		now.WriteText("3" + id + "[1]") // the answer to the first request
		synctest.Wait()
		wantPending(t, "a late answer to another request", second)
		now.answers("[2]")
		wantAtOnce(t, "answered", second, time.Now(), "2 <nil>")
	})
}

func TestCall_FromMiddleware_IsNotConnected(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		b.Use(func(ctx context.Context, s *socketio.Socket) error {
			for _, to := range []socketio.Callee{s, b.RemoteSocket(s.ID())} {
				if _, err := age.Call(ctx, to, "years"); !errors.Is(err, socketio.ErrNotConnected) {
					t.Errorf("%T: %v", to, err)
				}
			}
			return nil
		})
		connected(t, b).wantEvents()
	})
}

// A thousand calls to a client that returns to one of three nodes again and again, cut or not, and answers late.
func TestCall_ClientReturnsAgainAndAgain(t *testing.T) {
	t.Parallel()
	someNodes(t, 3, func(t *testing.T, log *second, nodes []*socketio.Server) {
		const echo socketio.Request[int, int] = "echo"
		var calls sync.WaitGroup
		var mu sync.Mutex
		outcomes := make(map[string]int)
		p := connected(t, nodes[0])
		var late []string
		answers := 0
		for round := range 250 {
			for k := range 4 {
				question := 4*round + k
				calls.Go(func() {
					answer, err := echo.Call(context.Background(), remote(nodes[k%3], p), question)
					what := "answered"
					switch _, left := errors.AsType[*socketio.DisconnectError](err); {
					case err == nil && answer != question:
						t.Errorf("question %d was answered with %d", question, answer)
					case left:
						what = "disconnected"
					case err != nil:
						what = err.Error()
					}
					mu.Lock()
					defer mu.Unlock()
					outcomes[what]++
				})
			}
			synctest.Wait()
			for p.Waiting() > 0 {
				id, args, _ := strings.Cut(strings.TrimPrefix(p.ReadText(), "2"), `["echo",`)
				late = append(late, "3"+id+"["+args)
			}
			if round%3 == 0 {
				p.Cut()
				synctest.Wait()
			}
			p = p.comeBackUncut(nodes[round%2+1])
			for len(late) > 4 { // those of this round stay without an answer until later
				p.WriteText(late[0])
				late = late[1:]
				answers++
			}
			if round%5 == 0 {
				continue
			}
			question := -round
			calls.Go(func() {
				answer, err := echo.Call(context.Background(), remote(nodes[0], p), question)
				if err != nil || answer != question {
					t.Errorf("question %d: %d, %v", question, answer, err)
				}
			})
			synctest.Wait()
			id, args, _ := strings.Cut(strings.TrimPrefix(p.ReadText(), "2"), `["echo",`)
			p.WriteText("3" + id + "[" + args)
			synctest.Wait()
		}
		p.Cut()
		calls.Wait()
		if outcomes["disconnected"] != 1000 || len(outcomes) != 1 || answers < 900 {
			t.Errorf("outcomes %v, %d late answers", outcomes, answers)
		}
	})
}

// The calls that find the connection ended tell why, also before the socket is detached.
func TestCall_ClientDoesNotRead_IsDisconnected(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{QueueMessages: 8}, func(t *testing.T, io *socketio.Server) {
		connected(t, io)
		s := only(t, io)
		const calls = 1000
		results := make(chan error, calls)
		for range calls {
			go func() {
				_, err := age.Call(context.Background(), s, strings.Repeat("x", 10_000))
				results <- err
			}()
		}
		for range calls {
			if err := <-results; !isDisconnect(err, socketio.ReasonSlowConsumer) {
				t.Fatalf("a call ended with %v", err)
			}
		}
	})
}

func isDisconnect(err error, reason socketio.Reason) bool {
	e, ok := errors.AsType[*socketio.DisconnectError](err)
	return ok && e.Reason == reason
}
