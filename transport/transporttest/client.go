package transporttest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport/frame"
)

// A CloseError is the error of reading after the server's close frame. Code is 1005
// if the frame had none.
type CloseError struct{ Code int }

func (e *CloseError) Error() string { return fmt.Sprintf("closed by the server, code %d", e.Code) }

// Client is the client end of a session. Messages are those of Engine.IO: text
// without the type digit, and binary. The methods may be called concurrently;
// those without an error result fail the test instead, and those that read fail it when
// nothing has arrived for 10 s. Within a synctest bubble that is virtual time.
type Client struct {
	// Handshake is the data of the server's OPEN packet.
	Handshake frame.Handshake

	t    testing.TB
	conn net.Conn
	in   *bufio.Reader

	writing chan struct{} // one frame at a time; not a mutex, which blocks the virtual time of synctest

	mu      sync.Mutex
	changed *sync.Cond
	inbox   []message
	err     error // set when reading has ended
	paused  bool
	silent  bool
	pings   int
}

type message struct {
	binary bool
	data   []byte
}

func newClient(t testing.TB, conn net.Conn, in *bufio.Reader) *Client {
	c := &Client{t: t, conn: conn, in: in, writing: make(chan struct{}, 1)}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// hello reads the OPEN packet and starts to read the rest.
func (c *Client) hello(t testing.TB) {
	t.Helper()

	_, text, err := c.readFrame()
	if err == nil {
		c.Handshake, err = frame.ParseOpen(text)
	}
	if err != nil {
		t.Fatalf("engine.io handshake: %v", err)
	}

	go c.readLoop() // owner: the client; ends with the connection, at the latest in Cut
}

// patience is how long ReadText and ReadBinary wait.
const patience = 10 * time.Second

// errNoMessage is the error of a read without a message in time.
var errNoMessage = fmt.Errorf("no message within %v", patience)

// ReadMessage waits for the next message, without a limit. After the last one it returns a
// *CloseError, or io.EOF if the connection was dropped.
func (c *Client) ReadMessage() (binary bool, data []byte, err error) { return c.read(new(bool)) }

// readInTime is ReadMessage that returns errNoMessage after a time.
func (c *Client) readInTime() (binary bool, data []byte, err error) {
	late := false
	defer time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.changed.Broadcast()
	}).Stop()
	return c.read(&late)
}

// read waits for the next message until *late, which c.mu guards.
func (c *Client) read(late *bool) (binary bool, data []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	for len(c.inbox) == 0 {
		switch {
		case c.err != nil:
			return false, nil, c.err
		case *late:
			return false, nil, errNoMessage
		}
		c.changed.Wait()
	}

	m := c.inbox[0]
	c.inbox = c.inbox[1:]
	return m.binary, m.data, nil
}

// ReadText waits for the next message, which must be text. The test fails if none arrives
// within 10 s.
func (c *Client) ReadText() string {
	c.t.Helper()

	binary, data, err := c.readInTime()
	if err != nil || binary {
		c.t.Fatalf("read text: got binary=%t %q, %v", binary, data, err)
	}
	return string(data)
}

// ReadBinary waits for the next message, which must be binary. The test fails if none
// arrives within 10 s.
func (c *Client) ReadBinary() []byte {
	c.t.Helper()

	binary, data, err := c.readInTime()
	if err != nil || !binary {
		c.t.Fatalf("read binary: got binary=%t %q, %v", binary, data, err)
	}
	return data
}

// Waiting returns the number of messages that have arrived and were not read.
func (c *Client) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.inbox)
}

// Pings returns the number of PINGs that have arrived.
func (c *Client) Pings() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pings
}

// WriteText sends a text message.
func (c *Client) WriteText(text string) {
	c.t.Helper()
	c.WritePacket(frame.Message, text)
}

// WritePacket sends an Engine.IO text packet of any type.
func (c *Client) WritePacket(typ frame.Type, data string) {
	c.t.Helper()
	c.must(c.writeFrame(ws.NewTextFrame(frame.Append(nil, typ, []byte(data)))))
}

// WriteBinary sends a binary message.
func (c *Client) WriteBinary(data []byte) {
	c.t.Helper()
	c.must(c.writeFrame(ws.NewBinaryFrame(append([]byte(nil), data...))))
}

// WriteRaw sends bytes unchanged. It is no error if the server drops the connection.
func (c *Client) WriteRaw(wire []byte) {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	_, _ = c.conn.Write(wire)
}

// SetPongs turns the answers to PINGs on or off. They are on initially.
func (c *Client) SetPongs(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = !on
}

// Pause stops reading, like a client that cannot keep up. The server's next write may
// still succeed if it has no more than 4 KB; the one after it blocks.
func (c *Client) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
}

// Resume continues reading after Pause.
func (c *Client) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
	c.changed.Broadcast()
}

// Close sends a close frame, like a browser, and waits until the server has closed the
// connection.
func (c *Client) Close() {
	c.Resume()
	if err := c.writeFrame(ws.NewCloseFrame(nil)); err != nil {
		c.Cut()
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil {
		c.changed.Wait()
	}
}

// Cut drops the connection without a close frame.
func (c *Client) Cut() {
	_ = c.conn.Close() // the pipe's Close never fails
	c.Resume()
}

func (c *Client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *Client) writeFrame(f ws.Frame) error {
	wire, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		return err
	}

	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	if err := c.conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err = c.conn.Write(wire)
	return err
}

func (c *Client) readFrame() (ws.OpCode, []byte, error) {
	h, err := ws.ReadHeader(c.in)
	if err != nil {
		return 0, nil, err
	}
	if err := ws.CheckHeader(h, ws.StateClientSide); err != nil {
		return 0, nil, err
	}

	data := make([]byte, h.Length)
	_, err = io.ReadFull(c.in, data)
	return h.OpCode, data, err
}

// readLoop reads frames until the connection ends.
func (c *Client) readLoop() {
	for {
		c.whilePaused()
		op, data, err := c.readFrame()
		if err == nil {
			err = c.take(op, data)
		}
		if err != nil {
			c.leave(err)
			return
		}
	}
}

func (c *Client) whilePaused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.paused {
		c.changed.Wait()
	}
}

func (c *Client) take(op ws.OpCode, data []byte) error {
	switch op {
	case ws.OpClose:
		code := 1005
		if sent, _ := ws.ParseCloseFrameData(data); !sent.Empty() {
			code = int(sent)
		}
		_ = c.writeFrame(ws.NewCloseFrame(data)) // the server may have closed
		return &CloseError{Code: code}
	case ws.OpBinary:
		c.put(message{binary: true, data: data})
		return nil
	case ws.OpText:
		return c.packet(data)
	default:
		return nil
	}
}

func (c *Client) packet(text []byte) error {
	p, err := frame.Parse(text)
	if err != nil {
		return err
	}

	switch p.Type {
	case frame.Message:
		c.put(message{data: p.Data})
	case frame.Ping:
		return c.pong()
	default:
	}
	return nil
}

func (c *Client) pong() error {
	c.mu.Lock()
	c.pings++
	silent := c.silent
	c.mu.Unlock()

	if silent {
		return nil
	}
	return c.writeFrame(ws.NewTextFrame([]byte{byte(frame.Pong)}))
}

func (c *Client) put(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox = append(c.inbox, m)
	c.changed.Broadcast()
}

// leave closes this end. The error of reading is that of the server's action, if any.
func (c *Client) leave(err error) {
	_ = c.conn.Close() // the pipe's Close never fails
	if errors.Is(err, io.ErrClosedPipe) {
		err = io.EOF
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.changed.Broadcast()
}
