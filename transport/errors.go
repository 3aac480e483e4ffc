package transport

import (
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// Errors of a session.
var (
	// ErrClosed reports that the session has ended, or is ending.
	ErrClosed = errors.New("session is closed")
	// ErrQueueFull reports that the peer reads too slowly; the session was closed.
	ErrQueueFull = errors.New("outbound queue is full")
)

var (
	errPingTimeout  = errors.New("no pong in time")
	errPingByPeer   = errors.New("ping from the client: invalid heartbeat direction")
	errClosePacket  = errors.New("close packet from the peer")
	errMessageLimit = errors.New("message exceeds the payload limit")
	errLength       = errors.New("frame whose length is not minimally encoded")
	errCloseCode    = errors.New("close frame with a reserved or invalid code")
	errInvalidUTF8  = errors.New("text message is not valid UTF-8")
	errFrames       = errors.New("too many frames before the end of the upgrade")
	errCloseFrame   = errors.New("close frame with a payload of one byte")
	errPeerLeft     = errors.New("close frame from the peer")
	errOverlap      = errors.New("overlapping polls or posts of one session")
	errPollAborted  = errors.New("open poll aborted by the peer")
	errPostAborted  = errors.New("incomplete body of a post")
	errContentType  = errors.New("post with binary content")
)

// Reason is why a session ended: one of the official strings, unless a comment
// says otherwise.
type Reason string

// The reasons of a session's end.
const (
	ReasonTransportClose Reason = "transport close"
	ReasonTransportError Reason = "transport error"
	ReasonPingTimeout    Reason = "ping timeout"
	ReasonParseError     Reason = "parse error"
	ReasonForcedClose    Reason = "forced close"
	ReasonServerShutdown Reason = "server shutting down"

	// ReasonSlowConsumer means that the outbound queue was full. The official list does not have it.
	ReasonSlowConsumer Reason = "slow consumer"
)

// closeMode is what happens to the queue and the connection when a session ends.
type closeMode uint8

const (
	flush     closeMode = iota // send the queue, then the close frame
	flushOpen                  // as flush, but over polling only with the open poll
	discard                    // drop the queue, send the close frame
	cut                        // drop the queue and the connection at once
)

// keeps reports whether the queue is still sent.
func (m closeMode) keeps() bool { return m == flush || m == flushOpen }

// ending is why and how a session ends. It is an error, so that the read path can
// return it as one.
type ending struct {
	reason Reason
	cause  error
	mode   closeMode
	code   ws.StatusCode // of the close frame; 0 is a frame without a code
}

func (e *ending) Error() string { return fmt.Sprintf("%s: %v", e.reason, e.cause) }

func (e *ending) Unwrap() error { return e.cause }
