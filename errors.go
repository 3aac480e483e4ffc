package socketio

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/transport"
)

var (
	// ErrReserved reports an event name that the protocol reserves:
	// connect, connect_error, disconnect, disconnecting, newListener,
	// removeListener.
	ErrReserved = errors.New("reserved event name")

	// ErrLocal reports a local target where the log is required.
	ErrLocal = errors.New("local target: its events do not go through the log")

	// ErrStale reports a snapshot token that is older than what its client has
	// received since: the application has to read its state again.
	ErrStale = errors.New("snapshot token is older than what the client has received")

	// ErrSnapshot reports a text that is not a snapshot token of this log.
	ErrSnapshot = adapter.ErrSnapshot

	// ErrTrimmed reports a snapshot token from before the oldest record that the
	// log still keeps.
	ErrTrimmed = adapter.ErrTrimmed

	// ErrRoomName reports a room name that is empty, longer than 255 bytes, not
	// UTF-8, or that contains a NUL.
	ErrRoomName = errors.New("invalid room name")

	// ErrSocketRoom reports a Socket.Join of a room that is named by the id of
	// another socket.
	ErrSocketRoom = errors.New("room of another socket")

	// ErrReservedRoom reports a join of a room whose name begins with U+001F: such
	// rooms are those of the watchers of a Presence.
	ErrReservedRoom = errors.New("reserved room name")

	// ErrNoPresence reports a Presence without a recovery.PresenceStore, or of a socket
	// without a session: recovery is off, or its client has opted out of it.
	ErrNoPresence = errors.New("presence needs a store with presence, and a socket that can recover")

	// ErrNotPresent reports a Presence.Update of a socket that is not a member of the
	// room.
	ErrNotPresent = errors.New("socket is not present in the room")

	// ErrStateSize reports a state of more than Options.Presence.StateBytes.
	ErrStateSize = errors.New("state of a member is too large")

	// ErrTooManyRooms reports a Socket.Join beyond Options.MaxRooms or
	// Options.MaxRoomBytes, or an audience of more than 65,535 rooms.
	ErrTooManyRooms = errors.New("too many rooms")

	// ErrNotConnected reports a call or an emit to a socket whose CONNECT packet
	// has not been answered yet, made from middleware, or a call to a
	// [RemoteSocket] that is connected to no node. The request reached nobody. The
	// error of a socket that was disconnected during the call is a
	// *DisconnectError.
	ErrNotConnected = errors.New("socket is not connected")

	// ErrReplied reports a second reply to one request, or a reply to an event
	// without an acknowledgement.
	ErrReplied = errors.New("no reply wanted, or already sent")

	// ErrPlaceholder reports an event, a request or an answer with binary data
	// and with an object of the application, or relayed from a client, that has
	// the member "_placeholder": true. Clients take such an object for binary
	// data; official ones close the connection then. Without binary data the
	// object is allowed.
	ErrPlaceholder = packet.ErrPlaceholder

	// ErrMissingArgument reports an event or an answer with fewer arguments than
	// its type has: JavaScript's emit("x") and callback() have none. A missing
	// argument whose type is a pointer or an interface, such as any, is nil
	// instead; None wants no argument.
	ErrMissingArgument = errors.New("missing argument")

	// ErrPayloadType reports a payload that is a pointer to a Positional, to a
	// []byte or to None, and would be encoded differently than these are. Use
	// the type itself.
	ErrPayloadType = errors.New("pointer to a type that is no ordinary JSON")

	// ErrQueueFull reports an emit that was refused because the queue to the log
	// stayed full for as long as it waited. The event was not emitted.
	ErrQueueFull = adapter.ErrQueueFull

	// ErrWithdrawn is the outcome of an EmitAsync whose Receipt.Withdraw returned true.
	ErrWithdrawn = adapter.ErrWithdrawn

	// ErrShutdown reports a call on a server that is shutting down.
	ErrShutdown = errors.New("server is shutting down")
)

// A Code is the kind of an [Error], for the peer of a request. Applications define
// their own; the server uses those below.
type Code string

// The server's own codes.
const (
	CodeInternal     Code = "internal"     // a handler failed; the detail is in the server's log
	CodeBadPayload   Code = "bad_payload"  // the arguments do not fit the event's type
	CodeDisconnected Code = "disconnected" // Socket.Disconnect before the client was connected
)

// An Error is an error that is sent to the peer. Returned by the handler of a
// [Request] it becomes the acknowledgement; returned by middleware it becomes the
// CONNECT_ERROR. Every other error is logged: the peer of a request gets
// CodeInternal without detail, and the connection of a client in middleware is
// closed, see Use. Data that cannot be encoded is left out, which is logged.
type Error struct {
	Code    Code
	Message string
	Data    any // JSON; optional
}

// Error implements error.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// publicError returns the error to send to a peer for err, and whether that is err itself.
func publicError(err error) (known *Error, itself bool) {
	if known, ok := asType[*Error](err); ok && known != nil {
		return known, true
	}
	return &Error{Code: CodeInternal}, false
}

// asType is errors.AsType for an error of user code, whose methods are user code too.
func asType[E error](err error) (found E, ok bool) {
	if failed := boundary.Do(func() { found, ok = errors.AsType[E](err) }); failed != nil {
		ok = false
	}
	return found, ok
}

// encodable returns the error with its data encoded, or without it if that fails.
func (s *Server) encodable(e *Error) *Error {
	bare := &Error{Code: e.Code, Message: e.Message}
	if e.Data == nil {
		return bare
	}
	var data json.RawMessage
	err := protect(func() (err error) {
		data, err = marshalJSON(e.Data)
		return err
	})
	if err != nil {
		s.opts.Logger.Error("data of an error not encoded", slog.String("code", string(e.Code)), slog.Any("error", err))
		return bare
	}
	bare.Data = data
	return bare
}

// A Reason is why a socket was disconnected. The constants have the official
// server's strings, except the last four.
type Reason string

// The reasons. Those marked (r) are Recoverable.
const (
	ReasonTransportClose   = Reason(transport.ReasonTransportClose) // (r) the connection was closed by the client or was lost
	ReasonTransportError   = Reason(transport.ReasonTransportError) // (r) the connection failed
	ReasonPingTimeout      = Reason(transport.ReasonPingTimeout)    // (r) the client did not answer a ping in time
	ReasonForcedClose      = Reason(transport.ReasonForcedClose)    // (r) the client violated the Socket.IO protocol
	ReasonServerShutdown   = Reason(transport.ReasonServerShutdown) // (r) Shutdown
	ReasonParseError       = Reason(transport.ReasonParseError)     // the client sent something that is not Engine.IO
	ReasonClientDisconnect = Reason("client namespace disconnect")  // the client left the namespace
	ReasonServerDisconnect = Reason("server namespace disconnect")  // Disconnect was called

	ReasonSlowConsumer = Reason(transport.ReasonSlowConsumer) // (r) the client read more slowly than it was sent to
	ReasonRateLimit    = Reason("rate limit exceeded")        // (r) the client exceeded Options.EventsPerSecond or a similar rate
	ReasonTakenOver    = Reason("session taken over")         // the client returned on another connection
	ReasonNodeReset    = Reason("node reset")                 // (r) the node fell behind the log, or the others considered it dead
)

// Recoverable reports whether the client may recover its session after r.
func (r Reason) Recoverable() bool {
	switch r {
	case ReasonParseError, ReasonClientDisconnect, ReasonServerDisconnect, ReasonTakenOver:
		return false
	default:
		return true
	}
}

// A DisconnectError is the cause of a socket's context after the socket was
// disconnected, and the error of calls that needed it connected.
type DisconnectError struct {
	Reason Reason
	Err    error // the detail; may be nil
}

// Error implements error.
func (e *DisconnectError) Error() string {
	if e.Err == nil {
		return "socket disconnected: " + string(e.Reason)
	}
	return fmt.Sprintf("socket disconnected: %s: %v", e.Reason, e.Err)
}

// Unwrap returns Err.
func (e *DisconnectError) Unwrap() error { return e.Err }
