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
	// of one POST, in bytes. The handshake announces it. Default: 1,000,000.
	MaxPayload int64

	// QueueBytes bounds the queue of one session, without the messages that are being
	// written, in bytes on the wire. Messages of one Send count as a quarter of it at
	// most, so that a peer that reads can receive messages of any size; an empty queue
	// accepts any messages. Default: 4 MiB.
	QueueBytes int
	// QueueMessages bounds the same queue in messages. Default: 4096.
	QueueMessages int

	// WriteTimeout is how long one write to a connection (64 KiB at most) may
	// take, and how long a closing session may take to send its queue. A session
	// that exceeds it ends with ReasonTransportError. Default: 15 s.
	WriteTimeout time.Duration

	// MaxConnections bounds the sessions of the server, including polling sessions
	// without a connection, and sessions that have ended but linger, see Lingerer.
	// Further requests are refused with status 503 and code 3. Negative: no bound.
	// Default: 1,000,000.
	MaxConnections int

	// MaxConnectionsPerAddress bounds the sessions of one client address. Further
	// requests are refused with status 429 and code 3. Default: no bound, because all
	// clients of a server behind a proxy may have the proxy's address.
	MaxConnectionsPerAddress int

	// ClientAddress returns the address by which MaxConnectionsPerAddress counts. Behind
	// a proxy, set it to read the header that the proxy sets. A request whose address is
	// "" is not counted. Default: the IP address of Request.RemoteAddr, for IPv6 its first
	// 64 bits.
	ClientAddress func(*http.Request) string

	// MaxHeaderBytes bounds the header and the URL of a request for a session, in
	// bytes of memory: the application may keep them for as long as the session
	// lives. Each header takes about 128 bytes besides its text. A larger request is
	// refused with status 431 and code 3. Negative: no bound. Default: 32 KiB.
	MaxHeaderBytes int

	// Origins are the origins of the pages from which browsers may use the server:
	// "https://app.example", with the port if it is not the default one;
	// "https://*.app.example" for all subdomains; SameHost for pages of the host that
	// the request was sent to, on any port; "*" for all, which requires AllowRequest or
	// the layers above to refuse pages of other sites that use the user's cookies;
	// "null" for files and sandboxed frames; "file://" for files in WebViews and Electron.
	// It applies to both transports. A WebSocket from another origin is refused. Answers
	// to polls have the CORS headers that allow listed pages to read them; pages of the
	// same host, or listed by name, with credentials. A request without an Origin header
	// is not from a page of another site and is always allowed, as is a request whose
	// origin an outer handler has allowed with Access-Control-Allow-Origin.
	// Default: SameHost. The official server allows any page to open a WebSocket with the
	// user's cookies, and restricts only polling; this server restricts both.
	Origins []string

	// AllowRequest may refuse a handshake by returning an error: code 4. The client
	// receives the message of a *ForbiddenError; any other error is logged, as a warning
	// at most once a minute. Default: nil, every handshake is allowed.
	AllowRequest func(*http.Request) error

	// HTTP configures the transports and the HTTP answers.
	HTTP HTTP

	// Logger receives errors that no caller receives, such as a panic of a Receiver.
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

// Validate reports the first invalid option. NewServer returns the same error.
func (o *Options) Validate() error {
	c := o.withDefaults()
	return c.validate()
}

// validate returns an error for the first invalid field. The handshake states
// durations in milliseconds, so the smallest is one millisecond.
func (o *Options) validate() error {
	for _, f := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"PingInterval", o.PingInterval, time.Millisecond},
		{"PingTimeout", o.PingTimeout, time.Millisecond},
		{"WriteTimeout", o.WriteTimeout, 1},
	} {
		if f.value < f.least {
			return fmt.Errorf("transport options: %s is %v, must be at least %v", f.name, f.value, f.least)
		}
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxPayload", o.MaxPayload},
		{"QueueBytes", int64(o.QueueBytes)},
		{"QueueMessages", int64(o.QueueMessages)},
	} {
		if f.value < 1 {
			return fmt.Errorf("transport options: %s is %d, must be at least 1", f.name, f.value)
		}
	}

	if err := checkOrigins(o.Origins); err != nil {
		return err
	}
	return o.HTTP.validate()
}
