package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport"
)

// socket is a WebSocket whose frames a test reads and writes one by one.
type socket struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// websocket opens the WebSocket of a polling session, or returns the refusal.
func (p *poller) websocket() (*socket, reply) {
	p.t.Helper()
	conn, err := p.pipes.dial(context.Background(), "", "")
	if err != nil {
		p.t.Fatal(err)
	}
	path := strings.TrimPrefix(strings.Replace(p.url, "transport=polling", "transport=websocket", 1), "http://server")
	go func() { _, _ = io.WriteString(conn, strings.Replace(upgradeRequest, wsURL, path, 1)+"\r\n") }()
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		_ = conn.Close()
		return nil, reply{resp.StatusCode, resp.Header, string(body), nil}
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return &socket{p.t, conn, in}, reply{status: resp.StatusCode}
}

func (s *socket) write(f ws.Frame) { _, _ = s.conn.Write(ws.MustCompileFrame(ws.MaskFrameInPlace(f))) }

func (s *socket) text(text string) { s.write(ws.NewTextFrame([]byte(text))) }

// read returns the next frame's text, or how it ended.
func (s *socket) read() string {
	h, err := ws.ReadHeader(s.in)
	if err != nil {
		return "gone"
	}
	data := make([]byte, h.Length)
	if _, err := io.ReadFull(s.in, data); err != nil {
		return "gone"
	}
	if h.OpCode == ws.OpClose {
		return "close"
	}
	return string(data)
}

func (s *socket) want(want string) {
	s.t.Helper()
	if got := s.read(); got != want {
		s.t.Fatalf("WebSocket: got %q, want %q", got, want)
	}
}

func TestUpgrade_KeepsTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		open := p.getting(t.Context())
		synctest.Wait()

		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		start := time.Now()
		p.want(<-open, 200, "6")
		if since := time.Since(start); since > 200*time.Millisecond {
			t.Errorf("the poll was freed after %v", since)
		}

		if err := r.session.Send(transport.Text([]byte("between")), transport.Binary([]byte{1})); err != nil {
			t.Fatal(err)
		}
		s.text("5")
		s.want("4between")
		s.want("\x01")
		if r.session.Transport() != transport.WebSocket {
			t.Errorf("transport %q", r.session.Transport())
		}
		s.text("4hello")
		if got := <-r.messages; got != "hello" {
			t.Fatalf("got %q", got)
		}
		p.want(p.get(), 400, `{"code":3,"message":"Bad request"}`)
		p.want(p.post("4late"), 400, `{"code":3,"message":"Bad request"}`)
		_, again := p.websocket()
		p.want(again, 400, "Bad request")

		s.want("2") // the heartbeat continues
		s.text("3")
		s.want("2")
		s.text("3")
		s.write(ws.NewCloseFrame(nil))
		r.wantClosed(t, transport.ReasonTransportClose)
		s.want("close")
	})
}

func TestUpgrade_PollsDuringProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		_ = r.session.Send(transport.Text([]byte("a")))
		p.want(p.get(), 200, "4a")
		p.want(p.post("4b"), 200, "ok")
		if got := <-r.messages; got != "b" {
			t.Fatal(got)
		}
		start := time.Now()
		p.want(p.get(), 200, "6")
		if since := time.Since(start); since != 100*time.Millisecond {
			t.Errorf("a poll was kept for %v", since)
		}
		s.write(ws.NewPingFrame([]byte("alive?")))
		s.want("alive?")
		s.text("5")
		_ = r.session.Send(transport.Text([]byte("c")))
		s.want("4c")
	})
}

func TestUpgrade_Failed_KeepsPolling(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*socket){
		"another packet":    func(s *socket) { s.text("4hello") },
		"another probe":     func(s *socket) { s.text("2") },
		"binary":            func(s *socket) { s.write(ws.NewBinaryFrame([]byte("2probe"))) },
		"too much":          func(s *socket) { _, _ = s.conn.Write([]byte{0x81, 0xfe, 1, 0, 1, 2, 3, 4}) }, // announced only
		"close":             func(s *socket) { s.write(ws.NewCloseFrame(nil)) },
		"gone":              func(s *socket) { _ = s.conn.Close() },
		"gone after probe":  func(s *socket) { s.text("2probe"); s.want("3probe"); _ = s.conn.Close() },
		"half a frame":      func(s *socket) { _, _ = s.conn.Write([]byte{0x81}) },
		"silence":           func(*socket) {},
		"silence after one": func(s *socket) { s.text("2probe"); s.want("3probe") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, r := poll(t, nil)
				s, _ := p.websocket()
				start := time.Now()
				spoil(s)
				if strings.HasPrefix(name, "silence") {
					_, again := p.websocket()
					p.want(again, 400, "Bad request") // one at a time
				}
				for s.read() != "gone" {
				}
				patience := 12 * time.Second
				if name == "too much" {
					patience = 2 * time.Second
				}
				if since := time.Since(start); since > patience {
					t.Errorf("the WebSocket was closed after %v", since)
				}
				_ = s.conn.Close()
				synctest.Wait()

				p.want(p.post("4a"), 200, "ok")
				if got := <-r.messages; got != "a" {
					t.Fatal(got)
				}
				_ = r.session.Send(transport.Text([]byte("b")))
				p.want(p.get(), 200, "4b")

				s, _ = p.websocket() // and the next upgrade may succeed
				s.text("2probe")
				s.want("3probe")
				s.text("5")
				_ = r.session.Send(transport.Text([]byte("c")))
				s.want("4c")
			})
		})
	}
}

func TestUpgrade_SessionEnds(t *testing.T) {
	t.Parallel()

	t.Run("what is queued leaves over the WebSocket", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, nil)
			s, _ := p.websocket()
			s.text("2probe")
			s.want("3probe")
			_ = r.session.Send(transport.Text([]byte("last words")))
			r.session.Close(transport.ReasonForcedClose)
			s.text("5")
			s.want("4last words")
			s.want("close")
			r.wantClosed(t, transport.ReasonForcedClose)
		})
	})
	t.Run("an aborted session takes the WebSocket with it", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, nil)
			s, _ := p.websocket()
			s.text("2probe")
			s.want("3probe")
			r.session.Abort(transport.ReasonForcedClose)
			r.wantClosed(t, transport.ReasonForcedClose)
			s.want("gone")
		})
	})
	t.Run("a shutdown waits for the WebSocket", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, opened := serve(t, nil)
			p := newWeb(t, server).open()
			r := <-opened
			s, _ := p.websocket()
			s.text("2probe")
			s.want("3probe")
			done := make(chan error)
			go func() { done <- server.Shutdown(t.Context()) }()
			synctest.Wait()
			p.want(p.get(), 200, "6\x1e1")
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			s.want("gone")
			r.wantClosed(t, transport.ReasonServerShutdown)
		})
	})
}

func TestUpgrade_Disabled(t *testing.T) {
	t.Parallel()
	for _, h := range []transport.HTTP{{Transports: []string{transport.Polling}}} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := poll(t, &transport.Options{HTTP: h})
			if len(p.hs.Upgrades) != 0 {
				t.Errorf("upgrades %v", p.hs.Upgrades)
			}
			if _, got := p.websocket(); got.status != 400 {
				t.Errorf("got %v", got)
			}
			p.want(p.post("4a"), 200, "ok")
		})
	}
}

// TestUpgrade_NotOffered_IsServed checks that an upgrade that was not offered succeeds, as in the official server.
func TestUpgrade_NotOffered_IsServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, &transport.Options{HTTP: transport.HTTP{NoUpgrades: true}})
		if len(p.hs.Upgrades) != 0 {
			t.Errorf("upgrades %v", p.hs.Upgrades)
		}
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		s.text("5")
		s.text("4a")
		if got := <-r.messages; got != "a" {
			t.Error(got)
		}
	})
}

// TestUpgrade_NothingLostOrDoubled sends continuously in both directions while the client
// upgrades at a different time in each round.
func TestUpgrade_NothingLostOrDoubled(t *testing.T) {
	t.Parallel()
	const messages = 300
	for round := range 30 {
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, nil)
			next := 0
			r.answer = func(data []byte, _ bool) error { // the echo of what is in order
				if string(data) != strconv.Itoa(next) {
					return fmt.Errorf("got %s, want %d", data, next)
				}
				next++
				return nil
			}
			sender := make(chan struct{})
			go func() {
				defer close(sender)
				for i := range messages {
					if r.session.Send(transport.Text([]byte(strconv.Itoa(i)))) != nil {
						return
					}
					time.Sleep(time.Millisecond) // virtual
				}
			}()

			var got []string
			take := func(body string) {
				for packet := range strings.SplitSeq(body, "\x1e") {
					if packet[0] == '4' {
						got = append(got, packet[1:])
					}
				}
			}
			sent := 0
			post := func() {
				p.want(p.post("4"+strconv.Itoa(sent)), 200, "ok")
				sent++
			}
			for range round {
				take(p.get().body)
				post()
			}
			s, _ := p.websocket()
			go s.text("2probe")
			pong := make(chan struct{})
			go func() { s.want("3probe"); close(pong) }()
			for upgraded := false; !upgraded; {
				select {
				case <-pong:
					upgraded = true
				default:
					take(p.get().body)
					post()
				}
			}
			go func() {
				s.text("5")
				for ; sent < messages; sent++ {
					s.text("4" + strconv.Itoa(sent))
				}
			}()
			defer r.session.Abort(transport.ReasonForcedClose)
			for len(got) < messages {
				text := s.read()
				if text[0] != '4' {
					t.Fatalf("got %q after %d messages", text, len(got))
				}
				take(text)
			}
			for i, text := range got {
				if text != strconv.Itoa(i) {
					t.Fatalf("round %d: message %d is %q", round, i, text)
				}
			}
			<-sender
			synctest.Wait()
			if next != messages {
				t.Fatalf("the server got %d of %d", next, messages)
			}
		})
	}
}

// TestUpgrade_OpenPoll checks that the open poll of a client that does not pause is refused
// at once, like a later one, and that queued messages are received once.
func TestUpgrade_OpenPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		open := p.getting(t.Context())
		synctest.Wait()
		start := time.Now()
		s.text("5")
		p.want(<-open, 400, `{"code":3,"message":"Bad request"}`)
		if since := time.Since(start); since > 0 {
			t.Errorf("the poll was freed after %v", since)
		}
		_ = r.session.Send(transport.Text([]byte("once")))
		s.want("4once")
	})
}

// TestUpgrade_WaitsForTheLastResponse checks that messages over the WebSocket do not
// overtake those of a poll.
func TestUpgrade_WaitsForTheLastResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		slow := p.raw("GET", "")
		_ = r.session.Send(transport.Text([]byte("first")))
		synctest.Wait() // the answer is being written, and the client does not read it
		s.text("5")
		_ = r.session.Send(transport.Text([]byte("second")))
		synctest.Wait()
		if r.session.Transport() != transport.Polling {
			t.Error("the session has switched to the WebSocket")
		}
		if got := slow.answer(); got.body != "4first" {
			t.Fatalf("the poll got %v", got)
		}
		s.want("4second")
	})
}

// TestUpgrade_LatePost checks that a POST after the upgrade is refused: its messages would
// follow later ones of the WebSocket.
func TestUpgrade_LatePost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		late := p.raw("POST", "Content-Length: 5\r\n")
		_, _ = io.WriteString(late.conn, "4la")
		synctest.Wait()
		s.text("5")
		s.text("4new")
		if got := <-r.messages; got != "new" {
			t.Fatal(got)
		}
		_, _ = io.WriteString(late.conn, "te")
		if got := late.answer(); got.status != 400 {
			t.Fatalf("got %v", got)
		}
		s.text("4newer")
		if got := <-r.messages; got != "newer" {
			t.Fatal(got)
		}
	})
}

// TestUpgrade_KeepsUnsentPackets checks that the WebSocket sends the rest of a batch in
// order after a poll took 64 KiB of it.
func TestUpgrade_KeepsUnsentPackets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		for i := range 6 {
			_ = r.session.Send(transport.Text(bytes.Repeat([]byte{byte('a' + i)}, 30_000)))
		}
		first := strings.Split(p.get().body, "\x1e")
		if len(first) != 2 {
			t.Fatalf("%d messages", len(first))
		}
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		s.text("5")
		for i := 2; i < 6; i++ {
			s.want("4" + strings.Repeat(string(rune('a'+i)), 30_000))
		}
	})
}
