package transport_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
)

func TestPolling_Handshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		w := newWeb(t, server)
		got := w.do(t.Context(), http.MethodGet, pollURL, "")
		r := <-opened
		w.want(got, 200, `0{"sid":"`+r.session.ID()+`","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`)
		if h := got.header; h.Get("Content-Type") != "text/plain; charset=UTF-8" || h.Get("Cache-Control") != "no-store" || len(h.Values("Set-Cookie")) > 0 {
			t.Errorf("headers %v", h)
		}
		if r.session.Transport() != transport.Polling {
			t.Errorf("transport %q", r.session.Transport())
		}
	})
}

func TestPolling_TextAndBinary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)

		got := p.post("4hello\x1ebAQIDBA==\x1e4€")
		p.want(got, 200, "ok")
		if got.header.Get("Content-Type") != "text/html" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", got.header)
		}
		for _, want := range []string{"hello", "b:\x01\x02\x03\x04", "€"} {
			if m := <-r.messages; m != want {
				t.Fatalf("got %q, want %q", m, want)
			}
		}

		for _, size := range []int{1, 200, 70_000} { // each has another header on a WebSocket
			text, binary := strings.Repeat("x", size), strings.Repeat("\x00", size)
			if err := r.session.Send(transport.Text([]byte(text)), transport.Binary([]byte(binary))); err != nil {
				t.Fatal(err)
			}
			var all []string
			for len(all) < 2 {
				all = append(all, strings.Split(p.get().body, "\x1e")...)
			}
			if all[0] != "4"+text || all[1] != "b"+base64.StdEncoding.EncodeToString([]byte(binary)) {
				t.Fatalf("%d bytes came back as %d and %d", size, len(all[0]), len(all[1]))
			}
		}
	})
}

func TestPolling_PollWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		if r.session.TrySend(transport.Text([]byte("volatile"))) {
			t.Error("TrySend queued a message without an open poll")
		}

		got := p.getting(t.Context())
		synctest.Wait()
		if !r.session.TrySend(transport.Text([]byte("volatile"))) {
			t.Error("TrySend did not queue a message with an open poll")
		}
		p.want(<-got, 200, "4volatile")

		start := time.Now()
		p.want(p.get(), 200, "2") // the heartbeat
		if since := time.Since(start); since < 24*time.Second || since > 27*time.Second {
			t.Errorf("ping after %v", since)
		}
		p.want(p.post("3"), 200, "ok")
		p.want(p.get(), 200, "2")
	})
}

func TestPolling_NoPoll_PingTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		<-r.closed
		r.wantClosed(t, transport.ReasonPingTimeout)
		synctest.Wait()
		p.want(p.get(), 400, `{"code":1,"message":"Session ID unknown"}`)
	})
}

func TestPolling_SlowConsumer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, r := poll(t, &transport.Options{QueueMessages: 10})
		synctest.Wait()
		var err error
		n := 0
		for ; err == nil && n < 100; n++ {
			err = r.session.Send(transport.Text([]byte("x")))
		}
		if !errors.Is(err, transport.ErrQueueFull) || n != 11 {
			t.Fatalf("message %d: %v", n, err)
		}
		r.wantClosed(t, transport.ReasonSlowConsumer)
	})
}

func TestPolling_OverlappingRequests(t *testing.T) {
	t.Parallel()
	t.Run("polls", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, nil)
			first := p.getting(t.Context())
			synctest.Wait()
			p.want(p.get(), 400, "")
			p.want(<-first, 200, "1")
			r.wantClosed(t, transport.ReasonTransportError)
		})
	})
	t.Run("posts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, nil)
			body, end := io.Pipe()
			defer func() { _ = end.Close() }()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, body)
			go func() {
				if resp, err := p.client.Do(req); err == nil {
					_ = resp.Body.Close()
				}
			}()
			_, _ = end.Write([]byte("4half"))
			synctest.Wait()
			p.want(p.post("4other"), 400, "")
			r.wantClosed(t, transport.ReasonTransportError)
			_ = end.Close()
			synctest.Wait()
			if len(r.messages) != 0 {
				t.Errorf("%d messages after the end", len(r.messages))
			}
		})
	})
}

func TestPolling_AbortedPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		got := p.getting(ctx)
		synctest.Wait()
		cancel()
		<-got
		r.wantClosed(t, transport.ReasonTransportError)
	})
}

func TestPolling_RefusedBodies(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, body, kind string
		status           int
		answer           string
		reason           transport.Reason // empty if the session continues
	}{
		{"too large", "4" + strings.Repeat("x", 100), "", 413, "", ""},
		{"binary", "4x", "application/octet-stream", 400, "", transport.ReasonTransportError},
		{"unknown type", "4a\x1e9", "", 200, "ok", transport.ReasonParseError},
		{"empty packet", "4a\x1e", "", 200, "ok", transport.ReasonParseError},
		{"empty", "", "", 200, "ok", transport.ReasonParseError},
		{"bad base64", "b$", "", 200, "ok", ""},
		{"not UTF-8", "4\xff", "", 200, "ok", ""},
		{"ping", "2", "", 200, "ok", transport.ReasonTransportError},
		{"close", "1", "", 200, "ok", transport.ReasonTransportClose},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, r := poll(t, &transport.Options{MaxPayload: 100})
				p.want(p.post(row.body, "Content-Type", row.kind), row.status, row.answer)
				if row.reason != "" {
					r.wantClosed(t, row.reason)
					return
				}
				p.want(p.post("4next"), 200, "ok")
				for m := range r.messages {
					if m == "next" {
						break
					}
				}
			})
		})
	}
}

func TestPolling_ChunkedBody_Bounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := poll(t, &transport.Options{MaxPayload: 100})
		endless := struct{ io.Reader }{io.MultiReader(strings.NewReader("4"), zeros{})}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, endless)
		resp, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatal(resp.Status)
		}
		p.want(p.post("4next"), 200, "ok")
	})
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPolling_ClosePacket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		got := p.getting(t.Context())
		synctest.Wait()
		p.want(p.post("1"), 200, "ok")
		p.want(<-got, 200, "6")
		r.wantClosed(t, transport.ReasonTransportClose)
	})
}

func TestPolling_CloseFlushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		for range 3 {
			if err := r.session.Send(transport.Text([]byte(strings.Repeat("x", 60_000)))); err != nil {
				t.Fatal(err)
			}
		}
		r.session.Close(transport.ReasonForcedClose)
		<-r.closed // Closed is called before the peer reads
		for range 3 {
			if got := p.get(); got.status != 200 || len(got.body) != 60_001 {
				t.Fatalf("got %d, %d bytes", got.status, len(got.body))
			}
		}
		p.want(p.get(), 200, "6\x1e1") // as from the official server
		synctest.Wait()
		p.want(p.get(), 400, `{"code":1,"message":"Session ID unknown"}`)
	})
}

func TestPolling_CloseWithoutPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, &transport.Options{WriteTimeout: 3 * time.Second})
		newWeb(t, server).open()
		r := <-opened
		_ = r.session.Send(transport.Text([]byte("never fetched")))
		start := time.Now()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if since := time.Since(start); since != 3*time.Second {
			t.Errorf("shutdown took %v", since)
		}
		r.wantClosed(t, transport.ReasonServerShutdown)
	})
}

func TestPolling_ShutdownIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		newWeb(t, server).open()
		r := <-opened
		synctest.Wait()
		start := time.Now()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if since := time.Since(start); since != 2*time.Second { // the time to wait for a poll
			t.Errorf("shutdown took %v", since)
		}
		r.wantClosed(t, transport.ReasonServerShutdown)
	})
}

func TestPolling_ShutdownContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		p := newWeb(t, server).open()
		r := <-opened
		_ = r.session.Send(transport.Text([]byte("never fetched")))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		r.wantClosed(t, transport.ReasonServerShutdown)
		p.want(p.get(), 400, `{"code":1,"message":"Session ID unknown"}`)
		if got := p.do(t.Context(), http.MethodGet, pollURL, ""); got.status != http.StatusServiceUnavailable {
			t.Errorf("a new session: %v", got)
		}
	})
}

func TestPolling_OpenPollAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, end := range []func(*transport.Session){
		func(s *transport.Session) { s.Close(transport.ReasonForcedClose) },
		func(s *transport.Session) { s.Abort(transport.ReasonForcedClose) },
	} {
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, nil)
			got := p.getting(t.Context())
			synctest.Wait()
			end(r.session)
			p.want(<-got, 200, "1")
			r.wantClosed(t, transport.ReasonForcedClose)
		})
	}
}

func TestPolling_Methods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := poll(t, nil)
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodHead, http.MethodPatch} {
			p.want(p.do(t.Context(), method, p.url, ""), 500, "")
		}
		p.want(p.do(t.Context(), http.MethodPost, pollURL, "4"), 400, `{"code":2,"message":"Bad handshake method"}`)
		p.want(p.post("4a"), 200, "ok")
	})
}

func TestPolling_ReceiverPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		r.answer = func([]byte, bool) error { panic("handler") }
		p.want(p.post("4a"), 200, "ok")
		r.wantClosed(t, transport.ReasonForcedClose)
	})
}

func TestPolling_SeparatorInText(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		_ = r.session.Send(transport.Text([]byte("a\x1eb")))
		p.want(p.get(), 500, "")
		r.wantClosed(t, transport.ReasonTransportError)
	})
}

func TestPolling_SlowPost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		body, end := io.Pipe()
		go func() { _, _ = end.Write([]byte("4half")) }()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, body)
		start := time.Now()
		resp, err := p.client.Do(req) // 25 s until the PING, 20 s for the PONG
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		_ = end.Close()
		if since := time.Since(start); resp.StatusCode != http.StatusBadRequest || since != 45*time.Second {
			t.Errorf("%s after %v", resp.Status, since)
		}
		<-r.closed // by one of the two timeouts
		if len(r.messages) != 0 {
			t.Error("an incomplete message was received")
		}
	})
}

// flushing is a ResponseWriter that calls a function after the answer was written and
// before its handler returns.
type flushing struct {
	*httptest.ResponseRecorder

	then func()
}

func (f *flushing) Flush() { f.then() }

// TestPolling_NextPollBeforeHandlerReturned checks a client that has read an answer and
// polls again at once, on another connection.
func TestPolling_NextPollBeforeHandlerReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		handshake := httptest.NewRecorder()
		server.ServeHTTP(handshake, httptest.NewRequest(http.MethodGet, pollURL, http.NoBody))
		r := <-opened
		url := pollURL + "&sid=" + r.session.ID()

		next := httptest.NewRecorder()
		done := make(chan struct{})
		_ = r.session.Send(transport.Text([]byte("a")))
		first := &flushing{httptest.NewRecorder(), func() {
			go func() {
				defer close(done)
				server.ServeHTTP(next, httptest.NewRequest(http.MethodGet, url, http.NoBody))
			}()
			synctest.Wait() // the poll waits
		}}
		server.ServeHTTP(first, httptest.NewRequest(http.MethodGet, url, http.NoBody))
		_ = r.session.Send(transport.Text([]byte("b")))
		<-done
		if first.Body.String() != "4a" || next.Code != 200 || next.Body.String() != "4b" {
			t.Errorf("got %q, then %d %q", first.Body, next.Code, next.Body)
		}
	})
}
