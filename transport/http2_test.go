package transport_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
)

// http2Web returns a server and a client that support only HTTP/2, in memory.
func http2Web(t *testing.T, server *http.Server) *web {
	t.Helper()
	server.Protocols = new(http.Protocols)
	server.Protocols.SetUnencryptedHTTP2(true)
	w := newWebOf(t, server)
	rt, ok := w.client.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not the transport that is expected")
	}
	rt.Protocols = new(http.Protocols)
	rt.Protocols.SetUnencryptedHTTP2(true)
	return w
}

// TestPoll_OverHTTP2_LongerThanServerTimeouts checks polls longer than WriteTimeout, which HTTP/2 measures from the
// beginning of a stream.
func TestPoll_OverHTTP2_LongerThanServerTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		w := http2Web(t, &http.Server{Handler: server, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
		p := w.open()
		r := <-opened
		for range 3 {
			got := p.get() // after 25 s
			p.want(got, 200, "2")
			p.want(p.post("3"), 200, "ok")
		}
		_ = r.session.Send(transport.Text([]byte("a")))
		p.want(p.get(), 200, "4a")
	})
}

// TestWebSocket_OverHTTP2_IsRefused checks for the status of any request that cannot be upgraded.
func TestWebSocket_OverHTTP2_IsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, _ := serve(t, nil)
		w := http2Web(t, &http.Server{Handler: server, ReadHeaderTimeout: time.Second})
		w.want(w.do(t.Context(), http.MethodGet, "http://server"+wsURL, ""), 400, `{"code":3,"message":"Bad request"}`)
	})
}
