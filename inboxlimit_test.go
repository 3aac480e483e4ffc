package socketio_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

const (
	number socketio.Event[int]                   = "number"
	which  socketio.Request[socketio.None, int]  = "which"
	hold   socketio.Event[socketio.None]         = "hold"
	last   socketio.Request[socketio.None, bool] = "last"
)

// TestInbox_Burst_HandledInOrder: a client that is faster than its handlers is slowed
// down, and loses no events.
func TestInbox_Burst_HandledInOrder(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*socketio.Options{
		"defaults": nil,
		"events":   {InboxEvents: 1},
		"bytes":    {InboxBytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				const n = 6000
				next := 0
				number.On(io, func(_ context.Context, _ *socketio.Socket, i int) error {
					time.Sleep(time.Millisecond)
					if i != next {
						t.Errorf("event %d, want %d", i, next)
					}
					next++
					return nil
				})
				which.On(io, func(context.Context, *socketio.Socket, socketio.None) (int, error) { return next, nil })
				p := connected(t, io)
				for i := range n {
					p.WriteText(fmt.Sprintf(`2["number",%d]`, i))
				}
				if got := p.ask(`["which"]`); got != "[6000]" {
					t.Errorf("%s events were handled", got)
				}
			})
		})
	}
}

// TestInbox_Burst_Polling: over long-polling the POST is answered late.
func TestInbox_Burst_Polling(t *testing.T) {
	t.Parallel()
	server := newServer(&socketio.Options{InboxEvents: 10})
	release, handled := make(chan struct{}), make(chan int, 1000)
	number.On(server, func(_ context.Context, _ *socketio.Socket, i int) error {
		<-release
		handled <- i
		return nil
	})
	web := httptest.NewServer(server)
	defer web.Close()
	do := func(method, sid, body string) string {
		url := web.URL + "/socket.io/?EIO=4&transport=polling" + sid
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			return err.Error()
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	}
	_, open, _ := strings.Cut(do(http.MethodGet, "", ""), `"sid":"`)
	sid, _, _ := strings.Cut(open, `"`)
	sid = "&sid=" + sid
	do(http.MethodPost, sid, "40")
	if got := do(http.MethodGet, sid, ""); !strings.HasPrefix(got, "40{") {
		t.Fatalf("CONNECT answered with %q", got)
	}
	packets := make([]string, 1000)
	for i := range packets {
		packets[i] = fmt.Sprintf(`42["number",%d]`, i)
	}
	answered := make(chan string)
	go func() { answered <- do(http.MethodPost, sid, strings.Join(packets, "\x1e")) }()
	select {
	case got := <-answered:
		t.Fatalf("the POST was answered with %q while nothing was handled", got)
	case release <- struct{}{}:
	}
	close(release)
	if got := <-answered; got != "ok" {
		t.Fatalf("got %q", got)
	}
	for i := range 1000 {
		if got := <-handled; got != i {
			t.Fatalf("event %d, want %d", got, i)
		}
	}
	do(http.MethodPost, sid, "1")
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestInbox_CallWhileFull_TimesOut: the answer is behind events that are not read. The
// handler gets its error in time, and the connection continues.
func TestInbox_CallWhileFull_TimesOut(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{InboxEvents: 2, AckTimeout: 10 * time.Second}, func(t *testing.T, io *socketio.Server) {
		var errs []error
		hold.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
			_, err := last.Call(ctx, s, socketio.None{})
			errs = append(errs, err)
			return nil
		})
		which.On(io, func(context.Context, *socketio.Socket, socketio.None) (int, error) { return len(errs), nil })
		p := connected(t, io)
		p.WriteText(`2["hold"]`)
		id, _, _ := strings.Cut(p.ReadText()[1:], "[")
		for range 5 {
			p.WriteText(`2["nobody"]`)
		}
		p.WriteText("3" + id + "[true]") // the answer, too late
		if got := p.ask(`["which"]`); got != "[1]" || !errors.Is(errs[0], context.DeadlineExceeded) {
			t.Errorf("%s handled: %v", got, errs)
		}
	})
}

// TestInbox_CallOfTheOnlyEvent_Answered: an event without others behind it does not
// pause the reading, whatever its size.
func TestInbox_CallOfTheOnlyEvent_Answered(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{InboxEvents: 2, InboxBytes: 1}, func(t *testing.T, io *socketio.Server) {
		answered := false
		hold.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) (err error) {
			answered, err = last.Call(ctx, s, socketio.None{})
			return err
		})
		p := connected(t, io)
		p.WriteText(`2["hold"]`)
		id, _, _ := strings.Cut(p.ReadText()[1:], "[")
		p.WriteText("3" + id + "[true]")
		synctest.Wait()
		if !answered {
			t.Error("the answer was not read")
		}
	})
}

// TestInbox_Full_ReleasedByDisconnect: events that the server drops do not block the
// client's other namespaces.
func TestInbox_Full_ReleasedByDisconnect(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{InboxEvents: 2}, func(t *testing.T, io *socketio.Server) {
		release, held := make(chan struct{}), 0
		hold.On(io, func(context.Context, *socketio.Socket, socketio.None) error {
			held++
			<-release
			return nil
		})
		which.On(io.Of("/other"), func(context.Context, *socketio.Socket, socketio.None) (int, error) { return 1, nil })
		p := connected(t, io)
		p.WriteText("0/other,")
		p.ReadText()
		for range 3 {
			p.WriteText(`2["hold"]`)
		}
		go p.WriteText(`2/other,1["which"]`)
		synctest.Wait()
		if n := p.Waiting(); n != 0 {
			t.Fatalf("the connection is read: %d messages", n)
		}
		if err := only(t, io).Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.ReadText(); got != "1" {
			t.Errorf("got %q", got)
		}
		if got := p.ReadText(); got != "3/other,1[1]" {
			t.Errorf("got %q", got)
		}
		close(release)
		synctest.Wait()
		if held != 1 {
			t.Errorf("%d events were handled after Disconnect", held-1)
		}
	})
}

// TestInbox_Full_ConnectionLost: received events are handled, and unread ones do not keep
// the session busy.
func TestInbox_Full_ConnectionLost(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{InboxEvents: 2}, func(t *testing.T, io *socketio.Server) {
		release, held := make(chan struct{}), 0
		var reason socketio.Reason
		hold.On(io, func(context.Context, *socketio.Socket, socketio.None) error {
			held++
			<-release
			return nil
		})
		io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { reason = r })
		p := connected(t, io)
		for range 3 {
			p.WriteText(`2["hold"]`)
		}
		p.Cut()
		time.Sleep(time.Minute) // a PING cannot be written
		if n := io.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
		close(release)
		synctest.Wait()
		if held != 3 || reason != socketio.ReasonTransportClose {
			t.Errorf("%d handled, %q", held, reason)
		}
	})
}

// TestInbox_HeapBound: Options.InboxBytes bounds the memory of events of any
// content. It is not parallel because it measures the heap.
//
//nolint:paralleltest // it measures memory
func TestInbox_HeapBound(t *testing.T) {
	const (
		bound  = 4 << 20
		packet = 256 << 10
	)
	attachments, placeholders := strings.Repeat("\x00", 10), ""
	for i := range attachments {
		placeholders += fmt.Sprintf(`,{"_placeholder":true,"num":%d}`, i)
	}
	for name, c := range map[string]struct {
		text        string
		attachments string // one byte each
		most        int64  // of the heap
	}{
		"numbers":     {text: `2["nobody"` + strings.Repeat(",0", 60_000) + `]`, most: bound + 8*packet},
		"text":        {text: `2["nobody","` + strings.Repeat("x", packet) + `"]`, most: bound + 4*packet},
		"name":        {text: `2["` + strings.Repeat("x", packet) + `"]`, most: bound + 4*packet},
		"small":       {text: `2["a"]`, most: bound + packet},
		"attachments": {text: `510-["a"` + placeholders + `]`, attachments: attachments, most: bound + packet},
	} {
		t.Run(name, func(t *testing.T) {
			opts := &socketio.Options{InboxBytes: bound, InboxEvents: 1 << 30}
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				release := make(chan struct{})
				hold.On(io, func(context.Context, *socketio.Socket, socketio.None) error { <-release; return nil })
				p := connected(t, io)
				p.WriteText(`2["hold"]`)
				synctest.Wait()
				before := heap()
				var sent atomic.Int64
				var stopped atomic.Bool
				go func() {
					for !stopped.Load() && io.Connections() == 1 {
						p.WriteRaw(clientFrame(1, "4"+c.text))
						for _, a := range []byte(c.attachments) {
							p.WriteRaw(clientFrame(2, string(a)))
						}
						sent.Add(1)
					}
				}()
				synctest.Wait() // until the server reads no more
				grown := heap() - before
				t.Logf("%d packets of %d bytes: %d KiB", sent.Load(), len(c.text)+len(c.attachments), grown>>10)
				if grown > c.most || grown < bound/8 {
					t.Errorf("the heap has grown by %d KiB, want %d at most", grown>>10, c.most>>10)
				}
				if n := io.Connections(); n != 1 {
					t.Errorf("%d connections", n)
				}
				stopped.Store(true)
				close(release)
			})
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// clientFrame returns a WebSocket frame of a client, masked with zeros.
func clientFrame(op byte, data string) []byte {
	f := []byte{0x80 | op}
	switch n := len(data); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	return append(append(f, 0, 0, 0, 0), data...)
}
