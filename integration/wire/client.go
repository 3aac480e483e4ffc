// Package wire is a Socket.IO client in Go that follows the rules of the official one: it answers pings, keeps the last
// string that ended an event as its offset, and reconnects with that and its private id. A process can hold thousands of
// them.
package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// Options are the options of a Client.
type Options struct {
	Namespace string         // default: "/"
	Auth      map[string]any // sent with CONNECT; may override pid and offset, as in the official client

	// Connected is called for every CONNECT that is answered, from the client's one reader, before any event that
	// follows it. Default: none.
	Connected func(id string, recovered bool)

	// Event is called for every event, from the client's one reader. The data is the JSON array; it is valid during
	// the call. Default: none.
	Event func(data json.RawMessage)

	// Request is called for every event that wants an acknowledgement, before Event, and returns the JSON array of its
	// arguments; nil for none. Default: no event is acknowledged.
	Request func(data json.RawMessage) json.RawMessage

	// Asked is called in place of Request, with the id for a later call of Acknowledge. Default: Request is called.
	Asked func(id string, data json.RawMessage)

	// Closed is called once for every connection that ended. Default: none.
	Closed func(error)

	// Dial opens the connections. Default: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A Client is one client, with its memory of the session, over any number of connections one after the other.
type Client struct {
	opts Options

	mu        sync.Mutex
	link      *Link
	reading   chan struct{} // closed when all that came on link has been taken
	id        string
	pid       string
	offset    string
	recovered bool
	events    int
	nextAck   int
	acks      map[string]chan json.RawMessage
}

// New returns a client that has not connected yet.
func New(opts Options) *Client {
	if opts.Namespace == "" {
		opts.Namespace = "/"
	}
	return &Client{opts: opts, acks: make(map[string]chan json.RawMessage)}
}

// Remember gives a client a session to come back to, as if it had been its own.
func (c *Client) Remember(pid, offset string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid, c.offset = pid, offset
}

// A RefusedError is a CONNECT_ERROR.
type RefusedError struct{ Body string }

// Error implements error.
func (e *RefusedError) Error() string { return "refused: " + e.Body }

// Connect opens a connection to the node at addr and returns when CONNECT was answered. The connection before is ended
// first, after what it received has been handled: the official client, which has one thread, does not leave a connection
// between handling an event and keeping its offset either. So it must not be called by Event.
func (c *Client) Connect(ctx context.Context, addr string) error {
	if err := c.endLast(ctx); err != nil {
		return err
	}
	link, err := dial(ctx, addr, c.opts.Dial)
	if err != nil {
		return err
	}
	answered, reading := make(chan error, 1), make(chan struct{})
	c.mu.Lock()
	body := make(map[string]any)
	if c.pid != "" {
		body["pid"] = c.pid
		if c.offset != "" {
			body["offset"] = c.offset
		}
	}
	maps.Copy(body, c.opts.Auth)
	c.mu.Unlock()
	text := "40"
	if c.opts.Namespace != "/" {
		text += c.opts.Namespace + ","
	}
	if len(body) > 0 {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text += string(data)
	}
	if err := link.Send(text); err != nil {
		link.Cut()
		return err
	}
	c.mu.Lock()
	c.link, c.reading = link, reading
	c.mu.Unlock()
	go c.read(link, answered, reading) // ends with the connection
	select {
	case err = <-answered:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		link.Cut()
	}
	return err
}

// endLast ends the connection before, if there was one, and waits for its reader.
func (c *Client) endLast(ctx context.Context) error {
	c.mu.Lock()
	link, reading := c.link, c.reading
	c.mu.Unlock()
	if link == nil {
		return nil
	}
	link.Cut()
	select {
	case <-reading:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ID is the socket's public id.
func (c *Client) ID() string { c.mu.Lock(); defer c.mu.Unlock(); return c.id }

// PID is the session's private id.
func (c *Client) PID() string { c.mu.Lock(); defer c.mu.Unlock(); return c.pid }

// Offset is the last one received.
func (c *Client) Offset() string { c.mu.Lock(); defer c.mu.Unlock(); return c.offset }

// Recovered reports whether the last connection continued the session of the one before.
func (c *Client) Recovered() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.recovered }

// Events is how many events have been received.
func (c *Client) Events() int { c.mu.Lock(); defer c.mu.Unlock(); return c.events }

// Cut breaks the connection with a TCP reset.
func (c *Client) Cut() { c.current().Cut() }

// Close breaks the connection with a close frame.
func (c *Client) Close() { c.current().Close() }

// Send sends a text message as it is, Engine.IO's digit included.
func (c *Client) Send(text string) error { return c.current().Send(text) }

func (c *Client) current() *Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// Call emits an event and waits for its acknowledgement, whose first argument it decodes into v unless that is nil.
func (c *Client) Call(ctx context.Context, v any, name string, args ...any) error {
	request, err := c.Ask(name, args...)
	if err != nil {
		return err
	}
	data, err := request.Wait(ctx)
	if err != nil || v == nil {
		return err
	}
	var answers []json.RawMessage
	if err := json.Unmarshal(data, &answers); err != nil || len(answers) == 0 {
		return fmt.Errorf("answer %s: %w", data, errPacket)
	}
	return json.Unmarshal(answers[0], v)
}

// A Request is an event whose acknowledgement is on its way.
type Request struct {
	answer chan json.RawMessage
	link   *Link
}

// Ask emits an event that wants an acknowledgement, and does not wait for that.
func (c *Client) Ask(name string, args ...any) (*Request, error) {
	answer := make(chan json.RawMessage, 1)
	c.mu.Lock()
	id := strconv.Itoa(c.nextAck)
	c.nextAck++
	c.acks[id] = answer
	link := c.link
	c.mu.Unlock()
	data, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		return nil, err
	}
	prefix := "42"
	if c.opts.Namespace != "/" {
		prefix += c.opts.Namespace + ","
	}
	return &Request{answer, link}, link.Send(prefix + id + string(data))
}

// Wait waits for the acknowledgement and returns the JSON array of its arguments.
func (r *Request) Wait(ctx context.Context) (json.RawMessage, error) {
	select {
	case data := <-r.answer:
		return data, nil
	case <-r.link.gone:
		return nil, errors.New("connection lost before the answer")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// read takes what comes on one connection until that ends, and then closes done.
func (c *Client) read(link *Link, answered chan<- error, done chan<- struct{}) {
	var err error
	for err == nil {
		var text string
		if text, err = link.Next(); err == nil {
			err = c.take(text, answered)
		}
	}
	link.Cut()
	close(done)
	select {
	case answered <- err:
	default:
	}
	if c.opts.Closed != nil {
		c.opts.Closed(err)
	}
}

var errServerDisconnect = errors.New("disconnected by the server")

func (c *Client) take(text string, answered chan<- error) error {
	m, err := parse(text)
	if err != nil {
		return err
	}
	switch m.kind {
	case connect:
		var body struct{ SID, PID string }
		if err := json.Unmarshal(m.data, &body); err != nil {
			return err
		}
		c.mu.Lock()
		c.recovered = body.PID != "" && body.PID == c.pid
		c.id, c.pid = body.SID, body.PID
		recovered := c.recovered
		c.mu.Unlock()
		if c.opts.Connected != nil {
			c.opts.Connected(body.SID, recovered)
		}
		answered <- nil
	case connectError:
		answered <- &RefusedError{string(m.data)}
	case disconnect:
		return errServerDisconnect
	case event, binaryEvent:
		offset, ok := "", false
		if m.id == "" { // otherwise the last argument is the callback
			offset, ok = offsetOf(m.data)
		} else if err := c.acknowledge(m); err != nil {
			return err
		}
		if c.opts.Event != nil {
			c.opts.Event(m.data)
		}
		c.mu.Lock()
		c.events++
		if ok && c.pid != "" {
			c.offset = offset
		}
		c.mu.Unlock()
	case ack, binaryAck:
		c.mu.Lock()
		answer := c.acks[m.id]
		delete(c.acks, m.id)
		c.mu.Unlock()
		if answer != nil {
			answer <- m.data
		}
	default:
		return errPacket
	}
	return nil
}

// Acknowledge answers a request on whatever connection the client has now, as the official client does. The args are a
// JSON array.
func (c *Client) Acknowledge(id string, args json.RawMessage) error {
	prefix := "43"
	if c.opts.Namespace != "/" {
		prefix += c.opts.Namespace + ","
	}
	return c.current().Send(prefix + id + string(args))
}

func (c *Client) acknowledge(m *message) error {
	if c.opts.Asked != nil {
		c.opts.Asked(m.id, m.data)
		return nil
	}
	if c.opts.Request == nil {
		return nil
	}
	answer := c.opts.Request(m.data)
	if answer == nil {
		return nil
	}
	prefix := "43"
	if m.namespace != "/" {
		prefix += m.namespace + ","
	}
	return c.current().Send(prefix + m.id + string(answer))
}

// A Link is one Engine.IO connection, for tests that send what no client would.
type Link struct {
	conn net.Conn
	in   io.Reader
	gone chan struct{}
	once sync.Once

	mu sync.Mutex // held while writing
}

// Dial opens a WebSocket to addr and waits for the handshake.
func Dial(ctx context.Context, addr string) (*Link, error) { return dial(ctx, addr, nil) }

func dial(ctx context.Context, addr string, by func(context.Context, string, string) (net.Conn, error)) (*Link, error) {
	dialer := ws.Dialer{Timeout: 30 * time.Second, NetDial: by}
	conn, buffered, _, err := dialer.Dial(ctx, "ws://"+addr+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		return nil, err
	}
	l := &Link{conn: conn, in: conn, gone: make(chan struct{})}
	if buffered != nil {
		l.in = io.MultiReader(io.LimitReader(buffered, int64(buffered.Buffered())), conn)
	}
	stop := context.AfterFunc(ctx, l.Cut)
	text, err := l.packet()
	if !stop() || err == nil && (text == "" || text[0] != '0') {
		err = errors.Join(err, errPacket, ctx.Err())
	}
	if err != nil {
		l.Cut()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return l, nil
}

// Next returns the next Socket.IO packet, answering pings meanwhile.
func (l *Link) Next() (string, error) {
	for {
		text, err := l.packet()
		switch {
		case err != nil:
			return "", err
		case text == "2":
			if err := l.Send("3"); err != nil {
				return "", err
			}
		case text[0] == '4':
			return text[1:], nil
		case text[0] == '1':
			return "", io.EOF
		}
	}
}

// packet returns the next text message. The attachments of binary events are skipped.
func (l *Link) packet() (string, error) {
	for {
		data, op, err := wsutil.ReadData(struct {
			io.Reader
			io.Writer
		}{l.in, writer{l}}, ws.StateClientSide)
		if err != nil {
			return "", err
		}
		if op == ws.OpText && len(data) > 0 {
			return string(data), nil
		}
	}
}

// Send sends a text message as it is, Engine.IO's digit included.
func (l *Link) Send(text string) error { return l.Frame(ws.OpText, []byte(text)) }

// Frame sends any frame.
func (l *Link) Frame(op ws.OpCode, payload []byte) error {
	frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload)))
	if err != nil {
		return err
	}
	return l.Write(frame)
}

// Write sends bytes below the WebSocket.
func (l *Link) Write(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.conn.Write(b)
	return err
}

// Done is closed when the connection has been ended from here, or was found broken by the reader.
func (l *Link) Done() <-chan struct{} { return l.gone }

// Cut ends the connection with a reset.
func (l *Link) Cut() {
	l.once.Do(func() {
		if tcp, ok := l.conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // only what the peer sees depends on it
		}
		close(l.gone)
		l.conn.Close()
	})
}

// Close ends the connection with a close frame.
func (l *Link) Close() {
	_ = l.Frame(ws.OpClose, nil) // the peer may be gone
	l.once.Do(func() {
		close(l.gone)
		l.conn.Close()
	})
}

// A writer lets the reader's answers to control frames take turns with other writes.
type writer struct{ l *Link }

func (w writer) Write(b []byte) (int, error) { return len(b), w.l.Write(b) }
