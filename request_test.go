package socketio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
)

const age socketio.Request[string, int] = "age"

// replies collects the results of a CallAll, as text.
func replies(ctx context.Context, to socketio.Target) []string {
	var got []string
	for r, err := range age.CallAll(ctx, to, "years") {
		if err != nil {
			got = append(got, fmt.Sprintf("%s: %v", r.From, err))
			continue
		}
		got = append(got, fmt.Sprintf("%s is %d", r.From, r.Value))
	}
	slices.Sort(got)
	return got
}

func wantReplies(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("replies\n got %q\nwant %q", got, want)
	}
}

// answers replies to the next request of the server.
func (p *peer) answers(body string) {
	p.t.Helper()
	text := p.ReadText()
	id, rest, _ := strings.Cut(strings.TrimPrefix(text, "2"), "[")
	if rest != `"age","years"]` {
		p.t.Errorf("request %q", text)
	}
	p.WriteText("3" + id + body)
}

func TestCallAll_AllNodes(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		p, q, other := connected(t, a), connected(t, b), connected(t, b)
		begun := time.Now()
		do(t, a.To(socketio.Room(p.id), socketio.Room(q.id)).Join(t.Context(), "r"))
		go p.answers("[1]")
		go q.answers("[2]")
		wantReplies(t, replies(t.Context(), a.To("r")), p.id+" is 1", q.id+" is 2")
		if took := time.Since(begun); took != 0 {
			t.Errorf("it ended after %v, not with the last answer", took)
		}
		other.wantEvents()
		wantReplies(t, replies(t.Context(), b.To("nobody")))
		go q.answers(`["two"]`)
		got := replies(t.Context(), b.To("r").Except(socketio.Room(p.id)))
		if len(got) != 1 || !strings.HasPrefix(got[0], q.id+": answer: ") {
			t.Errorf("an answer of the wrong type: %q", got)
		}
	})
}

func TestCallAll_Timeout_NamesTheSockets(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		p, q, r := connected(t, a), connected(t, b), connected(t, b)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		go q.answers("[2]")
		go func() {
			r.ReadText()
			r.Cut()
		}()
		wantReplies(t, replies(ctx, a),
			p.id+": context deadline exceeded", q.id+" is 2", r.id+": socket disconnected: transport close")
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("it ended after %v", took)
		}
		// A late answer is ignored.
		p.answers("[1]")
		synctest.Wait()
		// Without a deadline Options.AckTimeout applies.
		begun = time.Now()
		go q.answers("[2]")
		if got := replies(t.Context(), a); len(got) != 2 {
			t.Errorf("%q", got)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("it ended after %v", took)
		}
	})
}

func TestCallAll_NodeLeft(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		p, q := connected(t, a), connected(t, b)
		go p.answers("[1]")
		go func() {
			q.ReadText() // and does not answer
			_, err := log.Publish(t.Context(), &adapter.Envelope{Kind: adapter.NodeLeft, Payload: []byte(log.locals[1].ID())})
			if err != nil {
				t.Error(err)
			}
		}()
		begun := time.Now()
		var gone *socketio.NodeError
		n := 0
		for r, err := range age.CallAll(t.Context(), a, "years") {
			n++
			if err == nil && string(r.From) != p.id {
				t.Errorf("answer of %s", r.From)
			}
			if found, ok := errors.AsType[*socketio.NodeError](err); ok {
				gone = found
			}
		}
		if n != 2 || gone == nil || gone.Name != "node-1" || !errors.Is(gone, socketio.ErrNodeGone) {
			t.Errorf("%d yielded, %v", n, gone)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it ended after %v", took)
		}
	})
}

// A node that is behind in the log is reported at the deadline.
func TestCallAll_SilentNode_IsNamed(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		connected(t, b)
		log.lag.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantReplies(t, replies(ctx, a), ": node node-1: context deadline exceeded")
		log.lag.Store(false)
		log.catchUp()
	})
}

func TestCallAll_Local(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		p, q := connected(t, a), connected(t, b)
		go p.answers("[1]")
		wantReplies(t, replies(t.Context(), a.Local()), p.id+" is 1")
		q.wantEvents()
	})
}

func TestCallAllOnThisNodeOnly_NoAnswer_IsThatSocketsError(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p, q := connected(t, io), connected(t, io)
		go p.answers("[1]")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantReplies(t, replies(ctx, io.Local()), p.id+" is 1", q.id+": context deadline exceeded")
	})
}

func TestCallAll_CallerStopsEarly(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		p, q := connected(t, a), connected(t, b)
		var both sync.WaitGroup
		both.Go(func() { p.answers("[1]") })
		both.Go(func() { q.answers("[2]") })
		for _, err := range age.CallAll(t.Context(), a, "years") {
			do(t, err)
			break
		}
		both.Wait() // one of them answers after the call has ended
		for _, err := range a.All().Fetch(t.Context()) {
			do(t, err)
			break
		}
	})
}

func TestFetch_AllNodes(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		for _, io := range []*socketio.Server{a, b} {
			io.OnConnect(func(ctx context.Context, s *socketio.Socket) error { return mood.Set(ctx, s, "fine "+string(s.ID())) })
		}
		p, q, away := connected(t, a), connected(t, b), connected(t, b)
		away.Cut()
		synctest.Wait()
		do(t, a.To(socketio.Room(q.id)).Join(t.Context(), "r", "s"))
		found := make(map[string]*socketio.RemoteSocket)
		for s, err := range b.All().Fetch(t.Context()) {
			do(t, err)
			found[string(s.ID())] = s
		}
		if len(found) != 2 || found[p.id] == nil || found[q.id] == nil {
			t.Fatalf("found %v", found)
		}
		s := found[q.id]
		if got := slices.Sorted(s.Rooms()); !slices.Contains(got, "r") || !slices.Contains(got, "s") || len(got) != 3 {
			t.Errorf("rooms %v", got)
		}
		if v, ok := mood.From(s); !ok || v != "fine "+q.id {
			t.Errorf("data %q", v)
		}
		if h := s.Handshake(); h.URL.Path != "/socket.io/" || h.Time.IsZero() || h.Header == nil {
			t.Errorf("handshake %+v", h)
		}
		emit(t, s, "hello")
		do(t, s.Leave(t.Context(), "r"))
		emit(t, a.To("r"), "not any more")
		do(t, s.Join(t.Context(), "u"))
		emit(t, a.To("u"), "again")
		q.wantEvents("said hello", "said again")
		do(t, s.Disconnect(t.Context()))
		if text := q.ReadText(); text != "1" {
			t.Error(text)
		}
		n := 0
		for s, err := range a.To("s", socketio.Room(p.id)).Fetch(t.Context()) {
			do(t, err)
			n++
			if string(s.ID()) != p.id {
				t.Errorf("found %s", s.ID())
			}
		}
		if n != 1 {
			t.Errorf("%d found", n)
		}
	})
}

// The sockets of a node are sent in several answers.
func TestFetch_ManySockets_InChunks(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		large := strings.Repeat("x", 100<<10)
		b.OnConnect(func(ctx context.Context, s *socketio.Socket) error { return mood.Set(ctx, s, large) })
		for range 10 {
			connected(t, b)
		}
		n := 0
		for s, err := range a.All().Fetch(t.Context()) {
			do(t, err)
			n++
			if v, _ := mood.From(s); v != large {
				t.Error("data cut")
			}
		}
		if n != 10 {
			t.Errorf("%d found", n)
		}
	})
}

const (
	flushed socketio.ServerEvent[string]         = "flushed"
	load    socketio.ServerRequest[string, int]  = "load"
	pixels  socketio.ServerEvent[[]byte]         = "pixels"
	quiet   socketio.ServerRequest[string, bool] = "quiet"
)

func TestServerEvent_Order(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		var got []string
		note := func(_ context.Context, from, v string) error {
			got = append(got, v)
			if from != log.locals[0].ID() {
				t.Errorf("from %q", from)
			}
			time.Sleep(time.Second)
			if v == "3" {
				panic("on purpose")
			}
			return nil
		}
		flushed.On(b.Namespace, note)
		flushed.On(a.Namespace, func(context.Context, string, string) error { t.Error("own event"); return nil })
		flushed.On(b.Of("/other"), func(context.Context, string, string) error { t.Error("other namespace"); return nil })
		var image []byte
		pixels.On(b.Namespace, func(_ context.Context, _ string, v []byte) error { image = v; return nil })
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint(i))
			do(t, flushed.Emit(t.Context(), a, fmt.Sprint(i)))
		}
		do(t, pixels.Emit(t.Context(), a, []byte{1, 0, 2}))
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Equal(got, want) || !slices.Equal(image, []byte{1, 0, 2}) {
			t.Errorf("got %q, %v", got, image)
		}
		do(t, flushed.Emit(t.Context(), a, "once more"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if got[len(got)-1] != "once more" {
			t.Errorf("got %q", got)
		}
	})
}

func TestServerRequest_OtherNodesAnswer(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		load.On(b.Namespace, func(ctx context.Context, from, v string) (int, error) {
			switch v {
			case "refuse":
				return 0, &socketio.Error{Code: "busy", Message: "come later"}
			case "panic":
				panic("on purpose")
			case "hang":
				<-ctx.Done()
				return 0, ctx.Err()
			case "ask back":
				for r, err := range load.Call(ctx, b.Namespace, "") {
					return r.Value + 1, err
				}
			}
			return 7, nil
		})
		load.On(a.Namespace, func(context.Context, string, string) (int, error) { return 40, nil })
		call := func(v string) string {
			var got []string
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for r, err := range load.Call(ctx, a.Namespace, v) {
				who := map[string]string{log.locals[1].ID(): "b", "": "?"}[r.From]
				got = append(got, fmt.Sprint(who, " ", r.Value, " ", err))
			}
			return strings.Join(got, ", ")
		}
		for v, want := range map[string]string{
			"":         "b 7 <nil>",
			"refuse":   "b 0 busy: come later",
			"panic":    "b 0 internal",
			"hang":     "? 0 node node-1: context deadline exceeded",
			"ask back": "b 41 <nil>",
		} {
			if got := call(v); got != want {
				t.Errorf("%s: %s, want %s", v, got, want)
			}
		}
		for _, err := range quiet.Call(t.Context(), a.Namespace, "") {
			if e, ok := errors.AsType[*socketio.Error](err); !ok || e.Code != socketio.CodeNoHandler {
				t.Errorf("without a handler: %v", err)
			}
		}
	})
}

// Binary data in an any, or in a json.RawMessage, is sent to another server as an attachment, which that server
// seals itself: no seal of this process is in the log.
func TestServerEvent_BinaryInside_TravelsAsAttachment(t *testing.T) {
	t.Parallel()
	const (
		relay    socketio.Event[any]                   = "relay"
		relayRaw socketio.Event[json.RawMessage]       = "relay raw"
		frame    socketio.ServerEvent[any]             = "frame"
		frameRaw socketio.ServerEvent[json.RawMessage] = "frame raw"
	)
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		relay.On(a, func(ctx context.Context, _ *socketio.Socket, v any) error { return frame.Emit(ctx, a, v) })
		relayRaw.On(a, func(ctx context.Context, _ *socketio.Socket, v json.RawMessage) error {
			return frameRaw.Emit(ctx, a, v)
		})
		frame.On(b.Namespace, func(ctx context.Context, _ string, v any) error { return relay.Emit(ctx, b, v) })
		frameRaw.On(b.Namespace, func(ctx context.Context, _ string, v json.RawMessage) error { return relayRaw.Emit(ctx, b, v) })
		p, q := connected(t, a), connected(t, b)
		for _, name := range []string{"relay", "relay raw"} {
			p.WriteText(`51-["` + name + `",{"at":{"_placeholder":true,"num":0}}]`)
			p.WriteBinary([]byte{1, 2})
			if got, want := q.ReadText(), `51-["`+name+`",{"at":{"_placeholder":true,"num":0}},`; !strings.HasPrefix(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := q.ReadBinary(); !slices.Equal(got, []byte{1, 2}) {
				t.Errorf("got %v", got)
			}
		}
		for batch, err := range log.Read(t.Context(), 0, math.MaxInt64) {
			for _, d := range batch {
				if err != nil || len(d.Attachments) != 1 || bytes.Contains(d.Payload, []byte("seal")) {
					t.Errorf("in the log: %s, %d attachments, %v", d.Payload, len(d.Attachments), err)
				}
			}
		}
	})
}

// Requests that arrive one after the other, each when the node has begun to handle the former ones.
func TestServerRequest_ManyAtOnce_AreBounded(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		var now, most atomic.Int64
		release := make(chan struct{})
		load.On(b.Namespace, func(context.Context, string, string) (int, error) {
			most.Store(max(most.Load(), now.Add(1)))
			<-release
			now.Add(-1)
			return 7, nil
		})
		answered := make(chan error, 200)
		for range cap(answered) {
			go func() {
				for _, err := range load.Call(t.Context(), a.Namespace, "") {
					answered <- err
				}
			}()
			synctest.Wait()
		}
		if n := most.Load(); n != 64 {
			t.Errorf("%d requests were handled at once", n)
		}
		close(release)
		for range cap(answered) {
			if err := <-answered; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestEmitter_IsNotANode(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, a, b *socketio.Server) {
		heard := make(chan string, 2)
		flushed.On(a.Namespace, func(_ context.Context, from, v string) error { heard <- from + v; return nil })
		flushed.On(b.Namespace, func(_ context.Context, from, v string) error { heard <- from + v; return nil })
		p, q := connected(t, a), connected(t, b)
		e := socketio.NewEmitter(log)
		do(t, e.To(socketio.Room(q.id)).Join(t.Context(), "r"))
		emit(t, e.To("r"), "1")
		emit(t, e, "2")
		do(t, said.EmitAsync(e.Except("r"), "3").Wait(t.Context()))
		emit(t, e.Of("other"), "nobody")
		do(t, flushed.Emit(t.Context(), e, "cache"))
		p.wantEvents("said 2", "said 3")
		q.wantEvents("said 1", "said 2")
		if one, two := <-heard, <-heard; one != "cache" || two != "cache" {
			t.Errorf("%q, %q", one, two)
		}
		do(t, e.To("r").Disconnect(t.Context()))
		if text := q.ReadText(); text != "1" {
			t.Error(text)
		}
		for _, err := range e.Fetch(t.Context()) {
			if err == nil {
				t.Error("fetched")
			}
		}
		if err := said.Emit(t.Context(), e.Local(), "x"); err == nil {
			t.Error("local to nothing")
		}
		if err := e.Local().Join(t.Context(), "x"); err == nil {
			t.Error("local to nothing")
		}
		for _, err := range age.CallAll(t.Context(), e, "years") {
			if err == nil {
				t.Error("called")
			}
		}
	})
}

func TestShutdown_EndsClusterCalls(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		begun, ended := make(chan struct{}), false
		flushed.On(b.Namespace, func(ctx context.Context, _, _ string) error {
			close(begun)
			<-ctx.Done()
			ended = true
			return ctx.Err()
		})
		do(t, flushed.Emit(t.Context(), a, ""))
		<-begun
		do(t, b.Shutdown(t.Context()))
		if !ended {
			t.Error("a handler still runs")
		}
	})
}

// TestServerRequest_NodeShutsDown: a node that shuts down, or has, answers requests at once: the running handler
// answers when its context ends, and requests that wait, or arrive later, are refused.
func TestServerRequest_NodeShutsDown_IsAnswered(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		ran := 0
		load.On(b.Namespace, func(ctx context.Context, _, _ string) (int, error) {
			ran++
			<-ctx.Done()
			return 7, nil
		})
		answers := make(chan string, 65)
		ask := func() {
			for r, err := range load.Call(t.Context(), a.Namespace, "") {
				answers <- fmt.Sprint(r.Value, err)
			}
		}
		for range cap(answers) { // the last one waits
			go ask()
			synctest.Wait()
		}
		began := time.Now()
		do(t, b.Shutdown(t.Context()))
		got := make(map[string]int)
		for range cap(answers) {
			got[<-answers]++
		}
		ask()
		got[<-answers]++
		if got["7 <nil>"] != 64 || got["0 internal: server is shutting down"] != 2 || ran != 64 {
			t.Errorf("answers %v, %d handled", got, ran)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestNodes_Names(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		nodes, err := io.Nodes(t.Context())
		if err != nil || len(nodes) != 1 || nodes[0].ID == "" {
			t.Errorf("%+v, %v", nodes, err)
		}
	})
}
