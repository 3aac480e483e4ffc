package transport

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// The transports, as the protocol names them.
const (
	Polling   = "polling"
	WebSocket = "websocket"
)

// HTTP configures the transports of a server and its HTTP answers. The zero HTTP
// is that of the official server.
type HTTP struct {
	// Transports are those that clients may use: Polling, WebSocket or both.
	// Default: both.
	Transports []string
	// NoUpgrades omits the upgrade to WebSocket from the handshake, so that clients that
	// began with polling keep polling. A client that upgrades nevertheless is not
	// refused, as in the official server.
	// Default: the handshake offers it if WebSocket is among the Transports.
	NoUpgrades bool
	// UpgradeTimeout is how long an upgrade may take. After it, the WebSocket is closed
	// and the session continues to poll. Default: 10 s.
	UpgradeTimeout time.Duration

	// CompressFrom is the size in bytes from which the answer to a poll is
	// compressed, with gzip or deflate, if the client accepts that.
	// Negative: never. Default: 1024.
	CompressFrom int

	// PerMessageDeflate compresses messages of 1024 bytes or more on a WebSocket, if
	// the client offers that. It costs CPU time, and memory while a message is written
	// or read. Default: off, as in the official server.
	PerMessageDeflate bool

	// Cookie is a template for a cookie whose value is the id of the session. The
	// first answer to a polling client sets it, so that a load balancer can identify
	// the session; the server does not read it. An empty Name means
	// "io", an empty Path "/", and a SameSite of zero http.SameSiteLaxMode. It is
	// HttpOnly always: the value is a secret that no script needs.
	// Default: none is set.
	Cookie *http.Cookie

	// InitialHeaders may change the headers of the first answer of a session, and
	// Headers those of every answer, including the answer to a WebSocket request. They
	// are called before the answer is sent, while the request waits. If they panic,
	// the answer is sent without the headers that they did not set. Default: nil.
	InitialHeaders, Headers func(http.Header, *http.Request)

	// OnConnectionError is called for every request that is refused with one of the
	// protocol's codes, while the request waits. Default: nil.
	OnConnectionError func(*ConnectionError)
}

// A ConnectionError is a request that was refused.
type ConnectionError struct {
	Request *http.Request
	Code    int    // 0 to 5, see the protocol
	Message string // as sent to the client
	// Context has the details, with the keys of the official server: "transport", "sid",
	// "method", "protocol", "message", or the "name" of a rule for code 3.
	Context map[string]string
}

func (h *HTTP) withDefaults() HTTP {
	c := *h
	if c.Transports == nil {
		c.Transports = []string{Polling, WebSocket}
	}
	orDefault(&c.UpgradeTimeout, 10*time.Second)
	orDefault(&c.CompressFrom, 1024)
	if c.Cookie != nil {
		cookie := *c.Cookie
		orDefault(&cookie.Name, "io")
		orDefault(&cookie.Path, "/")
		orDefault(&cookie.SameSite, http.SameSiteLaxMode)
		cookie.HttpOnly = true
		c.Cookie = &cookie
	}
	return c
}

func (h *HTTP) validate() error {
	for _, name := range h.Transports {
		if name != Polling && name != WebSocket {
			return fmt.Errorf("transport options: HTTP.Transports has %q, must be %q or %q", name, Polling, WebSocket)
		}
	}
	if len(h.Transports) == 0 {
		return errors.New("transport options: HTTP.Transports is empty")
	}
	if h.UpgradeTimeout < time.Millisecond {
		return fmt.Errorf("transport options: HTTP.UpgradeTimeout is %v, must be at least 1ms", h.UpgradeTimeout)
	}
	return nil
}

// upgrades returns the upgrades that the handshake offers a polling client.
func (h *HTTP) upgrades() []string {
	if h.NoUpgrades || !slices.Contains(h.Transports, WebSocket) {
		return nil
	}
	return []string{WebSocket}
}

// bake sets the session's cookie, if Cookie is set.
func (h *HTTP) bake(w http.ResponseWriter, s *Session) {
	if h.Cookie == nil {
		return
	}
	cookie := *h.Cookie
	cookie.Value = s.id
	http.SetCookie(w, &cookie)
}
