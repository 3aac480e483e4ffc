package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgsocket/socketio/transport/frame"
)

// answer is the HTTP side of a request that belongs to a polling session.
type answer struct {
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	server  *Server

	late bool // the poll arrived after the peer had begun to upgrade
	last bool // the poll arrived after the end of the session
}

// answer returns the HTTP side of a request that may take longer than the WriteTimeout of
// the http.Server: a poll waits for a message, and a POST for its body. It removes that
// deadline, which would end an HTTP/2 stream while a poll waits. Each write has its own
// deadline, see send. Not every ResponseWriter supports deadlines.
//
// It sets the headers of Options.HTTP at once, because they come from user code, which
// must not run while a lock of the session is held.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) *answer {
	s.head(w.Header(), r)
	a := &answer{w: w, r: r, control: http.NewResponseController(w), server: s}
	_ = a.control.SetWriteDeadline(time.Time{})
	return a
}

// bound sets the deadline of the next write: the write timeout, or the session's flushBy
// if that is earlier. Net/http removes it after the request.
func (a *answer) bound(s *Session) {
	_ = a.control.SetWriteDeadline(s.writeBy(a.server.opts.WriteTimeout))
}

// empty answers with a status and no body.
func (a *answer) empty(status int) {
	a.bound(nil)
	a.w.WriteHeader(status)
}

// ok answers a POST.
func (a *answer) ok() {
	h := a.w.Header()
	h.Set("Content-Type", "text/html")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "2")
	a.quietOldBrowsers()
	a.bound(nil)
	_, _ = a.w.Write([]byte("ok")) // an error means that the client is gone
}

// quietOldBrowsers disables the XSS filter of Internet Explorer, which can misinterpret a
// payload, as the official server does.
func (a *answer) quietOldBrowsers() {
	if agent := a.r.UserAgent(); strings.Contains(agent, ";MSIE") || strings.Contains(agent, "Trident/") {
		a.w.Header().Set("X-XSS-Protection", "0")
	}
}

// recordSeparator separates the packets of a payload, see package frame.
const recordSeparator = 0x1e

// messages answers a poll of the session. A single message, which may be large and shared
// by many sessions, is not copied.
func (a *answer) messages(s *Session, messages []*Message) error {
	if len(messages) == 1 {
		if payload := messages[0].asText().data(); bytes.IndexByte(payload, recordSeparator) < 0 {
			return a.body(s, payload)
		}
	}
	packets := make([]frame.Packet, len(messages))
	for i, m := range messages {
		packets[i] = m.packet()
	}

	b := a.server.pools.buffer()
	defer a.server.pools.putBuffer(b)
	var err error
	if b.bytes, err = frame.AppendPayload(b.bytes, packets...); err != nil {
		a.empty(http.StatusInternalServerError)
		return err
	}
	return a.body(s, b.bytes)
}

// body answers a poll with a payload. The writes are bounded as on a WebSocket, and
// complete when body returns. If s is nil, they are bounded by the write timeout only.
func (a *answer) body(s *Session, payload []byte) error {
	h := a.w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	a.quietOldBrowsers()

	if encoding := a.encoding(len(payload)); encoding != "" {
		b := a.server.pools.buffer()
		defer a.server.pools.putBuffer(b)
		compressed := bytes.NewBuffer(b.bytes)
		a.server.pools.compress(compressed, encoding, payload)
		payload, b.bytes = compressed.Bytes(), compressed.Bytes()
		h.Set("Content-Encoding", encoding)
		h.Add("Vary", "Accept-Encoding")
	}
	h.Set("Content-Length", strconv.Itoa(len(payload)))

	return a.send(s, payload)
}

// send writes the body in pieces, each of which may take the write timeout.
func (a *answer) send(s *Session, p []byte) error {
	for len(p) > 0 {
		a.bound(s)
		n, err := a.w.Write(p[:min(len(p), maxWrite+maxUrgent)])
		if err != nil {
			return err
		}
		p = p[n:]
	}

	if err := a.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// read reads the body of a POST. It returns the status of the answer. A body that is too
// large does not end the session, as in the official server.
func (a *answer) read(b *buffer) (status int, e *ending) {
	opts := &a.server.opts
	if a.r.Header.Get("Content-Type") == "application/octet-stream" {
		return http.StatusBadRequest, &ending{reason: ReasonTransportError, cause: errContentType, mode: discard}
	}
	if a.r.ContentLength > opts.MaxPayload {
		return http.StatusRequestEntityTooLarge, nil
	}

	// A slower peer could not answer a PING in time either.
	_ = a.control.SetReadDeadline(time.Now().Add(opts.PingInterval + opts.PingTimeout))
	err := readUpTo(a.r.Body, b, opts.MaxPayload)
	switch {
	case errors.Is(err, errMessageLimit):
		return http.StatusRequestEntityTooLarge, nil
	case err != nil:
		err = fmt.Errorf("%w: %w", errPostAborted, err)
		return http.StatusBadRequest, &ending{reason: ReasonTransportError, cause: err, mode: discard}
	}
	return http.StatusOK, nil
}

// readUpTo reads all of r, at most limit bytes. It allocates at most twice the bytes that
// have arrived.
func readUpTo(r io.Reader, b *buffer, limit int64) error {
	for {
		have := len(b.bytes)
		if cap(b.bytes) == have {
			b.bytes = slices.Grow(b.bytes, max(have, firstRead))
		}
		n, err := r.Read(b.bytes[have:cap(b.bytes)])
		b.bytes = b.bytes[:have+n]
		switch {
		case int64(len(b.bytes)) > limit:
			return errMessageLimit
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// payload passes the packets of a POST to the session.
func (s *Session) payload(body []byte) *ending {
	if !utf8.Valid(body) {
		body = bytes.ToValidUTF8(body, []byte("\ufffd")) // as the official server does
	}
	for p, err := range frame.Payload(body, len(body)+1) {
		if err != nil {
			return &ending{reason: ReasonParseError, cause: err, mode: flushOpen}
		}
		if e := s.packet(p); e != nil {
			return e
		}
		s.waitResumed()
	}
	return nil
}

// closePackets returns the packets that answer a poll at the end of the session. A peer
// that sent a CLOSE packet gets a NOOP. The NOOP for a poll that arrives after the end is
// that of the official server.
func closePackets(e *ending, last bool) []frame.Type {
	switch {
	case e.cause == errClosePacket: //nolint:errorlint // methods of a Receiver's error must not be called
		return []frame.Type{frame.Noop}
	case last:
		return []frame.Type{frame.Noop, frame.Close}
	default:
		return []frame.Type{frame.Close}
	}
}

// lostAnswer returns the ending after a failed answer to a poll.
func lostAnswer(err error) *ending {
	return &ending{reason: ReasonTransportError, cause: fmt.Errorf("answer a poll: %w", err), mode: cut}
}
