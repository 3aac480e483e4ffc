package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport/frame"
)

// closeLinger is how long a peer may take to close after the close frame, or to send the
// poll that is answered with the end of the session.
const closeLinger = 2 * time.Second

// webSocket is the transport over a hijacked connection.
type webSocket struct {
	conn    net.Conn
	raw     syscall.RawConn // of conn, for writeSome; nil if it is not a plain socket
	early   []byte          // bytes that the HTTP server had read after the request
	frames  frameReader
	timeout time.Duration // of one write
	deflate bool          // permessage-deflate was negotiated
	base64  bool          // binary messages are sent as text
	pools   *pools
}

func newWebSocket(h hijacked, server *Server) *webSocket {
	c := &webSocket{
		conn: h.conn, raw: rawConn(h.conn), early: h.early, deflate: h.deflate, base64: h.base64,
		timeout: server.opts.WriteTimeout, pools: &server.pools,
	}
	c.frames = frameReader{
		in:      bufio.NewReaderSize(c, readBuffer),
		limit:   server.opts.MaxPayload,
		deflate: h.deflate,
		pools:   &server.pools,
	}
	return c
}

// Read reads the early bytes, then the connection.
func (c *webSocket) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.conn.Read(p)
	}

	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

func (c *webSocket) wake(s *Session) {
	if c.raw != nil {
		s.server.writers.add(task{s, c})
		return
	}
	go s.work() // owner: the session; ends when its queue is empty
}

// receive passes packets to the session until the connection or the session ends.
func (c *webSocket) receive(s *Session) *ending {
	c.frames.session = s
	for {
		if s.Paused() {
			c.frames.release()
			s.waitResumed()
		}
		op, data, end := c.frames.next()
		if end != nil {
			return end
		}

		switch op {
		case ws.OpClose:
			return closeByPeer(data)
		case ws.OpPing:
			s.urge(urgentReply, newControl(ws.OpPong, data))
			fallthrough
		case ws.OpPong:
			if end := s.overhead(len(data)); end != nil {
				return end
			}
			continue
		case ws.OpText, ws.OpBinary, ws.OpContinuation: // a message; the reader returns no continuation
		}

		p := frame.Packet{Type: frame.Message, Binary: true, Data: data}
		if op == ws.OpText {
			var err error
			if p, err = frame.Parse(data); err != nil {
				return &ending{reason: ReasonParseError, cause: err, mode: flushOpen}
			}
		}
		if end := s.packet(p); end != nil {
			return end
		}
	}
}

// closeByPeer returns the ending after a close frame of the peer. It is answered with the
// same code, or without one.
func closeByPeer(data []byte) *ending {
	e := &ending{reason: ReasonTransportClose, cause: errPeerLeft, mode: flushOpen}
	switch len(data) {
	case 0:
		return e
	case 1:
		return violation(ws.StatusProtocolError, errCloseFrame)
	}

	code, text := ws.ParseCloseFrameData(data)
	if !mayBeSent(code) {
		return violation(ws.StatusProtocolError, fmt.Errorf("%w: %d", errCloseCode, code))
	}
	if !utf8.ValidString(text) {
		return violation(ws.StatusInvalidFramePayloadData, errInvalidUTF8)
	}
	e.code = code
	e.cause = fmt.Errorf("%w, code %d %q", errPeerLeft, code, text)
	return e
}

// mayBeSent reports whether a close frame may have the code: those of RFC 6455, 7.4.1,
// those registered with IANA since (1012 to 1014), and those of libraries and
// applications.
func mayBeSent(code ws.StatusCode) bool {
	switch {
	case 1000 <= code && code <= 1014:
		return code < 1004 || code > 1006
	default:
		return 3000 <= code && code <= 4999
	}
}

// write sends messages in one call, or a large one in several. Several messages are
// copied into one buffer rather than passed to writev: the runtime keeps 16 bytes per
// vector for the life of the connection, 16 KB after one burst, and TLS would make a
// record of each.
func (c *webSocket) write(s *Session, messages []*Message) error {
	b := c.pools.buffer()
	defer c.pools.putBuffer(b)
	return c.send(s, c.join(messages, b))
}

// writeSome writes what the socket buffer accepts, in one call, and returns the rest: a
// copy of it if there are several messages, which are small; a part of the message if it
// is a single one, which may be large and shared by many sessions.
func (c *webSocket) writeSome(messages []*Message) (rest []byte, err error) {
	b := c.pools.buffer()
	defer c.pools.putBuffer(b)
	p := c.join(messages, b)
	n, err := writeNow(c.raw, p)
	if err != nil || n == len(p) {
		return nil, err
	}
	if len(messages) == 1 {
		return p[n:], nil
	}
	return bytes.Clone(p[n:]), nil
}

// join returns the concatenated frames of messages; it may use b as the buffer.
func (c *webSocket) join(messages []*Message, b *buffer) []byte {
	if len(messages) == 1 {
		return c.frame(messages[0])
	}
	for _, m := range messages {
		b.bytes = append(b.bytes, c.frame(m)...)
	}
	return b.bytes
}

func (c *webSocket) frame(m *Message) []byte {
	if c.base64 {
		m = m.asText()
	}
	if c.deflate {
		return m.deflated(c.pools)
	}
	return m.frame
}

// send writes p in pieces, each of which may take the write timeout, and until the
// session's flushBy at most, if s is not nil.
func (c *webSocket) send(s *Session, p []byte) error {
	for len(p) > 0 {
		if err := c.conn.SetWriteDeadline(s.writeBy(c.timeout)); err != nil {
			return err
		}

		n, err := c.conn.Write(p[:min(len(p), maxWrite+maxUrgent)])
		if err != nil {
			return err
		}
		p = p[n:]
	}
	if c.raw != nil { // nonblocking writes would fail after the deadline
		return c.conn.SetWriteDeadline(time.Time{})
	}
	return nil
}

func (c *webSocket) stopReading() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) }

// finish waits for the writer, whose writes are bounded.
func (c *webSocket) finish(s *Session, e *ending) {
	<-s.flushed
	if s.intact() {
		c.closeFrame(s, e.code)
	}
}

// closeFrame closes as RFC 6455, 7.1.1 recommends: it sends a close frame, half-closes,
// and reads until the peer has closed. A plain close could lose data in transit, because
// the kernel answers unread data with a reset.
func (c *webSocket) closeFrame(s *Session, code ws.StatusCode) {
	if err := c.send(s, newClose(code).frame); err != nil {
		return
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}

	_ = c.conn.SetReadDeadline(time.Now().Add(closeLinger))
	_, _ = io.Copy(io.Discard, c.conn)
}

func (c *webSocket) close() { _ = c.conn.Close() }
