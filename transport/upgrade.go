package transport

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport/frame"
)

// probeLimit bounds a message of a WebSocket during an upgrade, in bytes.
const probeLimit = 128

// probeFrames bounds the frames during an upgrade, to which no rate applies. A client needs
// two: the probe and the upgrade.
const probeFrames = 64

// claim reserves the upgrade: a session has at most one at a time.
func (p *polling) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.claimed || p.closed {
		return false
	}
	p.claimed = true
	return true
}

// attach makes close close c, too.
func (p *polling) attach(c *webSocket) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.probe = c
	if p.closed {
		c.close()
	}
}

// release ends a failed upgrade.
func (p *polling) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claimed, p.probed, p.probe = false, false, nil
}

// progress sets a state of the upgrade, and notifies the open poll.
func (p *polling) progress(state *bool) {
	p.mu.Lock()
	*state = true
	p.mu.Unlock()
	p.notify()
}

// probe serves the WebSocket to which the peer of a polling session upgrades.
func (s *Server) probe(w http.ResponseWriter, r *http.Request, session *Session, p *polling) {
	if !s.enterProbe() {
		p.release()
		s.shuttingDown(w, r)
		return
	}
	started := false
	defer func() { // also if a ResponseWriter of the application panics
		if !started {
			p.release()
			s.leaveProbe()
		}
	}()
	h, ok := s.hijack(w, r)
	if !ok {
		return
	}

	c := newWebSocket(h, s)
	p.attach(c)
	started = true
	go p.upgrade(session, c) // owner: the session; ends when it is the reader or the probe has failed
}

// upgrade makes c the session's transport if the peer completes the upgrade. Then the
// goroutine becomes the session's reader.
func (p *polling) upgrade(s *Session, c *webSocket) {
	c.frames.limit, c.frames.budget = probeLimit, probeFrames
	_ = c.conn.SetReadDeadline(time.Now().Add(s.server.opts.HTTP.UpgradeTimeout))

	taken, read := false, false
	if p.exchange(c) {
		c.frames.limit, c.frames.budget = s.server.opts.MaxPayload, 0
		_ = c.conn.SetReadDeadline(time.Time{})
		taken, read = p.switchTo(s, c)
	}
	if !taken {
		c.closeFrame(nil, 0)
		c.close()
		p.release()
	}

	s.server.leaveProbe() // from here on Shutdown waits for the session
	if read {
		s.readLoop(c)
	}
}

// exchange exchanges the packets of an upgrade, and reports whether it succeeded.
func (p *polling) exchange(c *webSocket) bool {
	for {
		op, data, e := c.frames.next()
		if e != nil {
			return false
		}

		switch {
		case op == ws.OpPing:
			e := c.send(nil, newControl(ws.OpPong, data).frame)
			if e != nil {
				return false
			}
		case op == ws.OpPong:
		case op == ws.OpText && string(data) == string(frame.Ping)+"probe":
			p.progress(&p.probed) // before the peer receives the pong
			if err := c.send(nil, newPacket(frame.Pong, []byte("probe")).frame); err != nil {
				return false
			}
		default:
			return op == ws.OpText && string(data) == string(frame.Upgrade)
		}
	}
}

// switchTo makes c the session's transport, between two answers to polls, so that no
// message is lost, duplicated or reordered. See Session.switchTo for the results: an
// ending session may still send its queue through c, which is then not read.
func (p *polling) switchTo(s *Session, c *webSocket) (taken, read bool) {
	<-p.out
	defer p.giveBack()

	if taken, read = s.switchTo(c); !taken {
		return false, false
	}
	p.mu.Lock()
	p.retired, p.probe = true, nil
	p.mu.Unlock()
	p.notify()

	w := p.writer
	if p.writer = nil; w == nil {
		w = s.server.pools.writer()
	}
	go s.writeOut(w) // owner: the session; ends when its queue is empty
	return true, read
}

// hijacked is a connection that has become a WebSocket.
type hijacked struct {
	conn    net.Conn
	early   []byte // bytes that the HTTP server had read after the request
	deflate bool   // permessage-deflate was negotiated
	base64  bool   // binary messages are sent as text, because the client asked for it
}

// hijack makes the request's connection a WebSocket. If it returns false, it has answered
// the request.
func (s *Server) hijack(w http.ResponseWriter, r *http.Request) (h hijacked, ok bool) {
	offer, refused := readHandshake(r)
	if refused != nil {
		s.refuse(w, r, refused)
		return h, false
	}
	s.head(w.Header(), r)

	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil { // a fault of the server
		s.opts.Logger.LogAttrs(r.Context(), slog.LevelError, "WebSocket upgrade failed", slog.Any("error", err))
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return h, false
	}

	h = hijacked{conn: conn, base64: last(r.URL.Query(), "b64") != ""}
	extension := ""
	if s.opts.HTTP.PerMessageDeflate {
		extension = negotiate(offer.extensions)
		h.deflate = extension != ""
	}
	_ = conn.SetDeadline(time.Time{})
	_ = conn.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
	err = offer.write(rw.Writer, w.Header(), extension)
	_ = conn.SetWriteDeadline(time.Time{})
	if err == nil {
		h.early, err = buffered(rw.Reader)
	}
	if err != nil {
		s.opts.Logger.LogAttrs(r.Context(), slog.LevelDebug, "WebSocket upgrade failed", slog.Any("error", err))
		_ = conn.Close()
		return h, false
	}
	return h, true
}

// buffered returns the bytes that net/http has read after the request.
func buffered(r *bufio.Reader) ([]byte, error) {
	if r.Buffered() == 0 {
		return nil, nil
	}

	early := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, early)
	return early, err
}
