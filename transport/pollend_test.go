package transport_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio/transport"
)

const unknownSession = `{"code":1,"message":"Session ID unknown"}`

// stubborn is a Receiver whose Closed blocks.
type stubborn struct{ let chan struct{} }

func (stubborn) Message([]byte, bool) error       { return nil }
func (s stubborn) Closed(transport.Reason, error) { <-s.let }

// TestPoll_AfterProtocolViolation_IsRefused checks that the poll is refused at once, as by the official server,
// even while Closed blocks.
func TestPoll_AfterProtocolViolation_IsRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"2", "9", "4a\x1e9", "1"} {
		synctest.Test(t, func(t *testing.T) {
			let := make(chan struct{})
			server, err := transport.NewServer(&transport.Options{Logger: quiet()}, func(*transport.Session, *http.Request) transport.Receiver { return stubborn{let} })
			if err != nil {
				t.Fatal(err)
			}
			p := newWeb(t, server).open()
			p.want(p.post(body), 200, "ok")
			p.want(p.get(), 400, unknownSession)
			p.want(p.post("4a"), 400, unknownSession)
			_, refused := p.websocket()
			p.want(refused, 400, "Session ID unknown")
			close(let)
			if err := server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPoll_AfterServerClose checks that later messages of the client are answered and dropped, that the next
// poll is answered with the end, once, and that later requests are refused, even while Closed blocks.
func TestPoll_AfterServerClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		opened := make(chan *transport.Session, 1)
		server, err := transport.NewServer(&transport.Options{Logger: quiet()}, func(s *transport.Session, _ *http.Request) transport.Receiver {
			opened <- s
			return stubborn{let}
		})
		if err != nil {
			t.Fatal(err)
		}
		p := newWeb(t, server).open()
		(<-opened).Close(transport.ReasonForcedClose)
		synctest.Wait() // Closed runs
		p.want(p.post("4a"), 200, "ok")
		p.want(p.get(), 200, "6\x1e1")
		p.want(p.get(), 400, unknownSession)
		p.want(p.post("4a"), 400, unknownSession)
		close(let)
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestPoll_OpenAtProtocolViolation checks that the open poll is answered with queued messages, or with the end.
func TestPoll_OpenAtProtocolViolation(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{"2": "1", "9": "1", "1": "6", "4a\x1e9": "4a", "4a\x1e2\x1e4b": "4a", "4a\x1e1": "4a"} {
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, nil)
			r.answer = func(data []byte, _ bool) error { return r.session.Send(transport.Text(data)) }
			open := p.getting(t.Context())
			synctest.Wait()
			p.want(p.post(body), 200, "ok")
			p.want(<-open, 200, want)
			p.want(p.get(), 400, unknownSession)
		})
	}
}

// TestPoll_OvertakesUpgradePacket checks a poll that was sent after the "5" and arrives before it.
func TestPoll_OvertakesUpgradePacket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		open := p.getting(t.Context())
		synctest.Wait()
		s.text("5")
		p.want(<-open, 400, `{"code":3,"message":"Bad request"}`)
		_ = r.session.Send(transport.Text([]byte("a")))
		s.want("4a")
	})
}

// TestPoll_OpenBeforeProbe checks that a client that does not wait for the end of its poll gets no error.
func TestPoll_OpenBeforeProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := poll(t, nil)
		open := p.getting(t.Context())
		synctest.Wait()
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		s.text("5")
		p.want(<-open, 200, "6")
	})
}

// TestAnswer_OldBrowsers checks the header X-XSS-Protection.
func TestAnswer_OldBrowsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		for agent, want := range map[string]string{
			"Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0) like Gecko": "0", "Mozilla/4.0 (compatible;MSIE 8.0)": "0", "curl/8": "",
		} {
			_ = r.session.Send(transport.Text([]byte("a")))
			get, post := p.get("User-Agent", agent), p.post("4a", "User-Agent", agent)
			if get.header.Get("X-XSS-Protection") != want || post.header.Get("X-XSS-Protection") != want {
				t.Errorf("%s: %v, %v", agent, get.header, post.header)
			}
		}
	})
}
