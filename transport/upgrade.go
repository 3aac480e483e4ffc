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

// probeLimit bounds a message of a WebSocket that is not the session's yet.
const probeLimit = 128

// claim reserves the one upgrade that a session may be in.
func (p *polling) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.claimed || p.closed {
		return false
	}
	p.claimed = true
	return true
}

// attach makes c what close closes as well.
func (p *polling) attach(c *webSocket) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.probe = c
	if p.closed {
		c.close()
	}
}

// release ends an upgrade that came to nothing.
func (p *polling) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claimed, p.probed, p.probe = false, false, nil
}

// progress notes how far the upgrade is, for the open poll to see.
func (p *polling) progress(state *bool) {
	p.mu.Lock()
	*state = true
	p.mu.Unlock()
	p.ring()
}

// probe serves the WebSocket with which the peer of a polling session wants to
// go on.
func (s *Server) probe(w http.ResponseWriter, r *http.Request, session *Session, p *polling) {
	if !s.enterProbe() {
		p.release()
		s.shuttingDown(w, r)
		return
	}
	going := false
	defer func() { // also if a ResponseWriter of the application panics
		if !going {
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
	going = true
	go p.upgrade(session, c) // owner: the session; ends when it is the reader or the probe has failed
}

// upgrade makes c the session's carrier if the peer goes through with it. Then the
// goroutine is the session's reader.
func (p *polling) upgrade(s *Session, c *webSocket) {
	c.frames.limit = probeLimit
	_ = c.conn.SetReadDeadline(time.Now().Add(s.server.opts.HTTP.UpgradeTimeout))

	taken, read := false, false
	if p.converse(c) {
		c.frames.limit = s.server.opts.MaxPayload
		_ = c.conn.SetReadDeadline(time.Time{})
		taken, read = p.handOver(s, c)
	}
	if !taken {
		c.goodbye(nil, 0)
		c.close()
		p.release()
	}

	s.server.leaveProbe() // from here on the server waits for the session
	if read {
		s.readLoop(c)
	}
}

// converse goes through the dialogue of an upgrade and tells whether it came to
// its good end.
func (p *polling) converse(c *webSocket) bool {
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
			p.progress(&p.probed) // before the peer can know
			if err := c.send(nil, newPacket(frame.Pong, []byte("probe")).frame); err != nil {
				return false
			}
		default:
			return op == ws.OpText && string(data) == string(frame.Upgrade)
		}
	}
}

// handOver makes c the session's carrier, between two answers to polls, so that
// nothing is lost, doubled, or overtaken. See adopt for the results: what an ending
// session has queued may still leave through c, which is not read then.
func (p *polling) handOver(s *Session, c *webSocket) (taken, read bool) {
	<-p.out
	defer p.giveBack()

	if taken, read = s.switchTo(c); !taken {
		return false, false
	}
	p.mu.Lock()
	p.retired, p.probe = true, nil
	p.mu.Unlock()
	p.ring()

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
	early   []byte // what the HTTP server had read beyond the request
	deflate bool   // permessage-deflate was negotiated
	base64  bool   // binary messages go out as text, because the client asked for that
}

// hijack makes the request's connection a WebSocket. If it does not, the client has its
// answer.
func (s *Server) hijack(w http.ResponseWriter, r *http.Request) (h hijacked, ok bool) {
	offer, refused := readHandshake(r)
	if refused != nil {
		s.refuse(w, r, refused)
		return h, false
	}
	s.head(w.Header(), r)

	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil { // the fault of this side
		s.opts.Logger.LogAttrs(r.Context(), slog.LevelError, "websocket upgrade", slog.Any("error", err))
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
		s.opts.Logger.LogAttrs(r.Context(), slog.LevelDebug, "websocket upgrade", slog.Any("error", err))
		_ = conn.Close()
		return h, false
	}
	return h, true
}

// buffered returns what net/http has read beyond the request.
func buffered(r *bufio.Reader) ([]byte, error) {
	if r.Buffered() == 0 {
		return nil, nil
	}

	early := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, early)
	return early, err
}
