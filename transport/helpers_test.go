package transport_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/transporttest"
)

const wsURL = "/engine.io/?EIO=4&transport=websocket"

// recorder is a Receiver that records its calls.
type recorder struct {
	session  *transport.Session
	messages chan string // binary ones with the prefix "b:"
	closed   chan struct{}
	reason   transport.Reason
	cause    error
	answer   func(data []byte, binary bool) error
}

func newRecorder(s *transport.Session) *recorder {
	return &recorder{session: s, messages: make(chan string, 1000), closed: make(chan struct{})}
}

func (r *recorder) Message(data []byte, binary bool) error {
	if r.answer != nil {
		return r.answer(data, binary)
	}
	if binary {
		r.messages <- "b:" + string(data)
		return nil
	}
	r.messages <- string(data)
	return nil
}

// Closed panics, and so fails the test, if it is called twice.
func (r *recorder) Closed(reason transport.Reason, cause error) {
	r.reason, r.cause = reason, cause
	close(r.closed)
}

func (r *recorder) wantClosed(t testing.TB, want transport.Reason) {
	t.Helper()
	select {
	case <-r.closed:
	case <-time.After(time.Minute):
		t.Fatal("the session was not closed")
	}
	if r.reason != want {
		t.Fatalf("closed with %q (%v), want %q", r.reason, r.cause, want)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve returns a server whose sessions are sent to the channel. It is shut down
// when the test ends.
func serve(t testing.TB, opts *transport.Options) (*transport.Server, <-chan *recorder) {
	t.Helper()

	if opts == nil {
		opts = &transport.Options{}
	}
	opts.Logger = quiet()
	opened := make(chan *recorder, 10_000)
	server, err := transport.NewServer(opts, func(s *transport.Session, _ *http.Request) transport.Receiver {
		r := newRecorder(s)
		opened <- r
		return r
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return server, opened
}

// join opens one session in memory.
func join(t testing.TB, opts *transport.Options) (*transporttest.Client, *recorder) {
	t.Helper()
	server, opened := serve(t, opts)
	c := transporttest.Dial(t, server, wsURL)
	return c, <-opened
}

// wantGone checks how the server closed: a close code, or 0 for a dropped connection.
func wantGone(t testing.TB, c *transporttest.Client, code int) {
	t.Helper()
	for {
		_, _, err := c.ReadMessage()
		if err == nil {
			continue
		}
		got := 0
		if e, ok := errors.AsType[*transporttest.CloseError](err); ok {
			got = e.Code
		}
		if got != code {
			t.Fatalf("client saw %v, want code %d", err, code)
		}
		return
	}
}
