package transport_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
)

// drip reads as much as one write call writes, again after each pause, until no data arrive for some minutes. It returns
// when the last data arrived.
func drip(conn net.Conn, pause time.Duration) <-chan time.Time {
	last := make(chan time.Time, 1)
	go func() { // owner: the test; ends with the connection, at the latest after the silence
		at := time.Now()
		for {
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
			n, err := io.CopyN(io.Discard, conn, 64<<10+256)
			if n > 0 {
				at = time.Now()
			}
			if err != nil {
				last <- at
				return
			}
			time.Sleep(pause)
		}
	}()
	return last
}

// TestWriteTimeout_EndInMidMessage checks that WriteTimeout bounds all writes of an ending session, including the current
// message, and not each piece of it.
func TestWriteTimeout_EndInMidMessage(t *testing.T) {
	t.Parallel()
	const timeout = 10 * time.Second
	large := transport.Text([]byte(strings.Repeat("x", 5<<20)))
	for end, do := range map[string]func(*recorder){
		"closed": func(r *recorder) { r.session.Close(transport.ReasonForcedClose) },
		"silent": func(*recorder) {}, // there is no PONG
	} {
		for name, dial := range map[string]func(*poller) net.Conn{
			transport.WebSocket: func(p *poller) net.Conn {
				s, _ := p.websocket()
				s.read() // the handshake
				return s.conn
			},
			transport.Polling: func(p *poller) net.Conn { return p.open().raw("GET", "").conn },
		} {
			t.Run(name+" "+end, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server, opened := serve(t, &transport.Options{WriteTimeout: timeout})
					conn := dial(&poller{web: newWeb(t, server), url: "http://server" + wsURL})
					r := <-opened
					if err := r.session.Send(large); err != nil {
						t.Fatal(err)
					}
					last := drip(conn, timeout-time.Second)
					time.Sleep(15 * time.Second)
					do(r)
					<-r.closed
					ended := time.Now()
					if took := (<-last).Sub(ended); took > timeout {
						t.Errorf("the session wrote for %v after its end", took)
					}
				})
			})
		}
	}
}
