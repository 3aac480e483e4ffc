package transport

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Options configure a Server. The zero Options, or nil, are those of the
// official server.
type Options struct {
	// PingInterval is the time between a PONG, or the handshake, and the next
	// PING. Default: 25 s.
	PingInterval time.Duration
	// PingTimeout is how long a PONG may take before the session ends with
	// ReasonPingTimeout. Default: 20 s.
	PingTimeout time.Duration

	// MaxPayload bounds one received message, over all its fragments, and the body
	// of one POST, in bytes; clients are told. Default: 1,000,000.
	MaxPayload int64

	// QueueBytes bounds what one session may have waiting to be sent behind what is
	// being written, in bytes on the wire. Messages of one Send count as a quarter of
	// it at most, so that a peer that reads gets messages of any size; those for an
	// empty queue are always taken. Default: 4 MiB.
	QueueBytes int
	// QueueMessages bounds the same in messages. Default: 4096.
	QueueMessages int

	// WriteTimeout is how long one write to a connection (64 KiB at most) may
	// take, and how long a closing session may take to send what is queued. A
	// peer that exceeds it is dropped with ReasonTransportError. Default: 15 s.
	WriteTimeout time.Duration

	// MaxConnections bounds the sessions of the server, those included that poll and
	// have no connection at the moment, or have ended but linger, see Lingerer. Requests for more are refused with status 503
	// and code 3. Negative: no bound. Default: 1,000,000.
	MaxConnections int

	// MaxConnectionsPerAddress bounds the sessions of one client address. Requests
	// for more are refused with status 429 and code 3. Default: no bound, because all
	// clients of a server behind a proxy may have the proxy's address.
	MaxConnectionsPerAddress int

	// ClientAddress returns what MaxConnectionsPerAddress counts by. A server behind a
	// proxy takes it from the header that the proxy sets. A request for which it is ""
	// is not counted. Default: the IP address of Request.RemoteAddr, of IPv6 the first
	// 64 bits.
	ClientAddress func(*http.Request) string

	// MaxHeaderBytes bounds the header and the URL of a request for a session, in
	// bytes of memory: the application may keep them for as long as the session
	// lives. Each header takes about 128 bytes beside its text. Larger ones are refused
	// with status 431 and code 3. Negative: no bound. Default: 32 KiB.
	MaxHeaderBytes int

	// Origins are the origins of the pages from which browsers may use the server:
	// "https://app.example", with the port if it is not the default one;
	// "https://*.app.example", for all subdomains; SameHost, for the pages of the host that
	// the request was sent to, on any port; "*" for all, which leaves it to AllowRequest or
	// to the layers above to tell a user from a page that acts with the user's cookies;
	// "null" for files and sandboxed frames; "file://" for files in WebViews and Electron.
	// It holds for both transports: a WebSocket from another origin is refused, and answers
	// to polls carry the headers (CORS) that let the pages of other hosts that are listed
	// read them, those of the same host or listed by name with credentials. Requests without
	// an Origin header, which are not from a page of another site, always pass, and so do
	// those whose origin a handler around the server has allowed with
	// Access-Control-Allow-Origin.
	// Default: SameHost. The official server lets any page open a WebSocket, with the
	// user's cookies, though it keeps polling from other origins; this one keeps both.
	Origins []string

	// AllowRequest may refuse a handshake by returning an error: code 4. Of a
	// *ForbiddenError the client gets the message; the text of any other error goes to the
	// Logger, at most once a minute. Default: nil, all are allowed.
	AllowRequest func(*http.Request) error

	// HTTP says how clients reach the server.
	HTTP HTTP

	// Logger is told what nobody else hears of, such as a Receiver that panicked.
	// Default: slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}

	orDefault(&c.PingInterval, 25*time.Second)
	orDefault(&c.PingTimeout, 20*time.Second)
	orDefault(&c.MaxPayload, 1_000_000)
	orDefault(&c.QueueBytes, 4<<20)
	orDefault(&c.QueueMessages, 4096)
	orDefault(&c.WriteTimeout, 15*time.Second)
	orDefault(&c.MaxConnections, 1_000_000)
	orDefault(&c.MaxHeaderBytes, 32<<10)
	if c.ClientAddress == nil {
		c.ClientAddress = remoteAddress
	}
	c.HTTP = c.HTTP.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}

	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate tells the first field that makes no sense. The handshake counts time
// in milliseconds, so that is the least a duration may be.
func (o *Options) validate() error {
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"PingInterval", int64(o.PingInterval), int64(time.Millisecond)},
		{"PingTimeout", int64(o.PingTimeout), int64(time.Millisecond)},
		{"MaxPayload", o.MaxPayload, 1},
		{"QueueBytes", int64(o.QueueBytes), 1},
		{"QueueMessages", int64(o.QueueMessages), 1},
		{"WriteTimeout", int64(o.WriteTimeout), 1},
	} {
		if f.value < f.least {
			return fmt.Errorf("transport options: %s is %d, must be at least %d", f.name, f.value, f.least)
		}
	}

	if err := checkOrigins(o.Origins); err != nil {
		return err
	}
	return o.HTTP.validate()
}
