package transport

import (
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// Errors of a session.
var (
	// ErrClosed tells that the session has ended, or is ending.
	ErrClosed = errors.New("session is closed")
	// ErrQueueFull tells that the peer does not keep up; the session was closed.
	ErrQueueFull = errors.New("outbound queue is full")
)

var (
	errPingTimeout  = errors.New("no pong in time")
	errPingByPeer   = errors.New("ping from the client: invalid heartbeat direction")
	errClosePacket  = errors.New("close packet from the peer")
	errMessageLimit = errors.New("message exceeds the payload limit")
	errLength       = errors.New("frame with a length in more bytes than it needs")
	errCloseCode    = errors.New("close frame with a code that may not be sent")
	errInvalidUTF8  = errors.New("text message is not valid UTF-8")
	errCloseFrame   = errors.New("close frame with a payload of one byte")
	errPeerLeft     = errors.New("close frame from the peer")
	errOverlap      = errors.New("two polls, or two posts, at a time")
	errPollAborted  = errors.New("the peer has left an open poll")
	errPostAborted  = errors.New("the peer has not sent all of a post")
	errContentType  = errors.New("post with binary content")
)

// Reason is why a session ended: one of the official strings, word by word,
// except where a comment says otherwise.
type Reason string

// The reasons of a session's end.
const (
	ReasonTransportClose Reason = "transport close"
	ReasonTransportError Reason = "transport error"
	ReasonPingTimeout    Reason = "ping timeout"
	ReasonParseError     Reason = "parse error"
	ReasonForcedClose    Reason = "forced close"
	ReasonServerShutdown Reason = "server shutting down"

	// ReasonSlowConsumer is ours, not of the official list: the outbound queue was full.
	ReasonSlowConsumer Reason = "slow consumer"
)

// closeMode is how a session takes leave.
type closeMode uint8

const (
	flush   closeMode = iota // what is queued still goes out, then the close frame
	settle                   // as flush, but over polling only a poll that is open takes it
	discard                  // the queue is dropped, the close frame goes out
	cut                      // the connection is dropped at once
)

// keeps tells whether what is queued still goes out.
func (m closeMode) keeps() bool { return m == flush || m == settle }

// ending is why and how a session ends. It is an error so that it can come up
// through the read path like any other.
type ending struct {
	reason Reason
	cause  error
	mode   closeMode
	code   ws.StatusCode // of the close frame; 0 is a frame without a code
}

func (e *ending) Error() string { return fmt.Sprintf("%s: %v", e.reason, e.cause) }

func (e *ending) Unwrap() error { return e.cause }
