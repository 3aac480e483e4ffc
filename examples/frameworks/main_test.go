package main

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/pgsocket/socketio"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	m.Run()
}

func TestChi(t *testing.T)  { t.Parallel(); visitOne(t, withChi) }
func TestGin(t *testing.T)  { t.Parallel(); visitOne(t, withGin) }
func TestEcho(t *testing.T) { t.Parallel(); visitOne(t, withEcho) }

func visitOne(t *testing.T, mount func(*socketio.Server) http.Handler) {
	t.Helper()
	s := newSite(t, mount(started(t)))
	s.visit(t, "/socket.io/")
}

func TestNetHTTP(t *testing.T) {
	t.Parallel()
	chat, admin := started(t), started(t)
	s := newSite(t, netHTTP(chat, admin))

	s.visit(t, "/socket.io/")
	if chat.Connections() != 2 || admin.Connections() != 0 {
		t.Errorf("connections %d and %d, want 2 and none", chat.Connections(), admin.Connections())
	}
	s.visit(t, "/admin/socket.io/")
	if chat.Connections() != 2 || admin.Connections() != 2 {
		t.Errorf("connections %d and %d, want 2 each", chat.Connections(), admin.Connections())
	}
}

// TestMiddlewareReachesEveryAnswer: the headers of a middleware are in the responses to
// polls and to a WebSocket request, and a preflight does not reach the server.
func TestMiddlewareReachesEveryAnswer(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example.com"
	s := newSite(t, netHTTP(started(t), started(t)))
	s.origin = origin

	const polling = "/socket.io/?EIO=4&transport=polling"
	sid, polled := s.handshake(t, polling)
	s.do(t, http.MethodPost, polling+sid, "1") // close
	_, preflight := s.do(t, http.MethodOptions, polling, "")
	_, upgraded := s.dial(t, "/socket.io/?EIO=4&transport=websocket")
	for name, header := range map[string]http.Header{"poll": polled, "preflight": preflight, "websocket": upgraded} {
		if got := header.Get("Access-Control-Allow-Origin"); got != origin {
			t.Errorf("%s: Access-Control-Allow-Origin is %q", name, got)
		}
		if got := header.Get("X-Served-By"); (got == "frameworks") == (name == "preflight") {
			t.Errorf("%s: X-Served-By is %q", name, got)
		}
	}
}
