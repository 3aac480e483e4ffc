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

// HTTP configures how clients reach a server, and what its answers carry. The
// zero HTTP is that of the official server.
type HTTP struct {
	// Transports are those that clients may use: Polling, WebSocket or both.
	// Default: both.
	Transports []string
	// NoUpgrades keeps the handshake from telling clients that began with polling that
	// they may upgrade, so that they stay there. One that does so nevertheless is not
	// refused, as in the official server.
	// Default: they are told, if WebSocket is among the Transports.
	NoUpgrades bool
	// UpgradeTimeout is how long an upgrade may take; then its WebSocket is closed
	// and the session goes on polling. Default: 10 s.
	UpgradeTimeout time.Duration

	// CompressFrom is the size in bytes from which the answer to a poll is
	// compressed, with gzip or deflate, if the client says that it accepts that.
	// Negative: never. Default: 1024.
	CompressFrom int

	// PerMessageDeflate compresses the messages of a WebSocket, those of 1024 bytes
	// or more, if the client offers that. It costs time, and memory while a message
	// is written or read. Default: off, as in the official server.
	PerMessageDeflate bool

	// Cookie is a template for a cookie whose value is the id of the session. It
	// is set by the first answer to a polling client, for a load balancer to
	// recognize the session by; the server does not read it. An empty Name means
	// "io", an empty Path "/", and a SameSite of zero http.SameSiteLaxMode. It is
	// HttpOnly always: the value is a secret that no script needs.
	// Default: none is set.
	Cookie *http.Cookie

	// InitialHeaders may change the headers of the first answer of a session, and
	// Headers those of every answer, the one to a WebSocket request included. They
	// are called while the request waits, before there is an answer. When they
	// panic, the answer goes without what they would have set. Default: nil.
	InitialHeaders, Headers func(http.Header, *http.Request)

	// OnConnectionError is told of every request that is refused with one of the
	// protocol's codes, while the request waits. Default: nobody is told.
	OnConnectionError func(*ConnectionError)
}

// A ConnectionError is a request that was refused.
type ConnectionError struct {
	Request *http.Request
	Code    int    // 0 to 5, see the protocol
	Message string // as the client gets it
	// Context says more, in the words of the official server: "transport", "sid",
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
			return fmt.Errorf("transport options: HTTP.Transports has %q, knows %q and %q", name, Polling, WebSocket)
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

// upgrades are what a polling client is told that it may change to.
func (h *HTTP) upgrades() []string {
	if h.NoUpgrades || !slices.Contains(h.Transports, WebSocket) {
		return nil
	}
	return []string{WebSocket}
}

// bake sets the cookie of a session.
func (h *HTTP) bake(w http.ResponseWriter, s *Session) {
	if h.Cookie == nil {
		return
	}
	cookie := *h.Cookie
	cookie.Value = s.id
	http.SetCookie(w, &cookie)
}
