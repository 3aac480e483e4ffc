package adapter

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Kind is the purpose of an Envelope. The log stores the values, so that they
// never change.
type Kind uint8

// The kinds of envelope.
const (
	Event        Kind = 0 // an event for sockets; replayed to sessions that missed it
	Volatile     Kind = 1 // an event for sockets that can receive it now; never replayed
	SessionMoved Kind = 2 // another node claimed a session: its former owner closes the connection

	// Operations. They take effect on sessions, connected or away, at their
	// position in the log.
	Join       Kind = 3 // the audience joins the rooms that Payload lists
	Leave      Kind = 4 // the audience leaves the rooms that Payload lists
	Disconnect Kind = 5 // the audience is disconnected, and its sessions end

	Request  Kind = 6 // a request to nodes; the server defines the format of Payload
	Answer   Kind = 7 // a response to the node whose ID is Audience.Rooms[0]
	NodeLeft Kind = 8 // the node whose ID is Payload has lost its connections; published by the adapter

	// History is an operation and an event: the audience joins the room of the
	// [HistoryRequest] in Payload, and each socket that was not in it receives
	// what was emitted to the room before.
	History Kind = 9

	// Watch is an operation and an event: the audience joins the watchers' room of the
	// [WatchRequest] in Payload, and each socket that was not in it receives the
	// members of the presence.
	Watch Kind = 10
)

// Operation reports whether envelopes of the kind change the rooms of sessions
// or end sessions.
func (k Kind) Operation() bool { return k.Joins() || k == Leave || k == Disconnect }

// Joins reports whether the audience of envelopes of the kind joins rooms.
func (k Kind) Joins() bool { return k == Join || k.Answers() }

// Answers reports whether a socket that joins a room with an envelope of the kind
// receives an event at its position.
func (k Kind) Answers() bool { return k == History || k == Watch }

// RoomList returns the payload of a Join or Leave.
func RoomList(rooms []string) ([]byte, error) { return json.Marshal(rooms) }

// RoomList returns the rooms that the payload of a Join, Leave, History or Watch lists.
func (e *Envelope) RoomList() ([]string, error) {
	switch e.Kind { //nolint:exhaustive // the others list their rooms
	case History:
		q, err := e.HistoryRequest()
		if err != nil {
			return nil, err
		}
		return []string{q.Room}, nil
	case Watch:
		q, err := e.WatchRequest()
		if err != nil {
			return nil, err
		}
		return []string{q.Watchers()}, nil
	}
	var rooms []string
	if err := json.Unmarshal(e.Payload, &rooms); err != nil {
		return nil, fmt.Errorf("decode the list of rooms: %w", err)
	}
	return rooms, nil
}

// An Envelope is one emit, or another message of a node, that passes through the log.
// It is immutable once published.
type Envelope struct {
	Kind        Kind
	Namespace   string
	Audience    Audience
	Payload     []byte   // Event, Volatile: the JSON array of name and arguments; else see Kind
	Attachments [][]byte // the binary arguments that placeholders in Payload refer to

	// LocalOnly, if not nil, reports whether every socket that the envelope concerns is
	// connected to the publishing node. It is a hint, which an adapter may ignore, and
	// not part of the record: it is nil in every Delivery. While it returns true, the
	// adapter need not notify the other nodes; they find the record when they next read
	// the log. An adapter that uses the hint calls LocalOnly again after it has delivered
	// the record to this node. If the result is then false, it notifies the other nodes at
	// once, because such a socket may have moved there. LocalOnly may be called from any
	// goroutine, and does not block.
	LocalOnly func() bool

	// TraceContext names the distributed trace that the envelope is part of, for nodes with a
	// tracer, for example in the headers of W3C Trace Context. The adapter keeps it with the
	// record and does not interpret it. It drops one for which ValidTraceContext is false. It is
	// not sent to clients. Default: none.
	TraceContext string
}

// MaxTraceContext is the maximum length of an Envelope.TraceContext, in bytes.
const MaxTraceContext = 512

// ValidTraceContext reports whether records can carry a trace context: it is not empty, has at
// most MaxTraceContext bytes, and is UTF-8 without a NUL, as text of Postgres is.
func ValidTraceContext(text string) bool {
	return text != "" && len(text) <= MaxTraceContext && utf8.ValidString(text) && strings.IndexByte(text, 0) < 0
}

// DropInvalidTraceContext returns e, or a copy without the TraceContext if that is not valid,
// see ValidTraceContext.
func (e *Envelope) DropInvalidTraceContext() *Envelope {
	if e.TraceContext == "" || ValidTraceContext(e.TraceContext) {
		return e
	}
	return e.WithoutTraceContext()
}

// WithoutTraceContext returns a copy of e without the TraceContext.
func (e *Envelope) WithoutTraceContext() *Envelope {
	without := *e
	without.TraceContext = ""
	return &without
}

// Answers reports whether the envelope is an Answer for the node with the ID.
func (e *Envelope) Answers(node string) bool {
	return e.Kind == Answer && len(e.Audience.Rooms) == 1 && e.Audience.Rooms[0] == node
}

// Size returns the approximate number of bytes that the envelope takes in the log.
func (e *Envelope) Size() int {
	n := 16 + len(e.Namespace) + len(e.Payload)
	if e.TraceContext != "" {
		n += 2 + len(e.TraceContext)
	}
	for _, r := range e.Audience.Rooms {
		n += 2 + len(r)
	}
	for _, r := range e.Audience.Except {
		n += 2 + len(r)
	}
	for _, a := range e.Attachments {
		n += 4 + len(a)
	}
	return n
}

// The bytes of memory that an envelope with its Delivery, a room name and an attachment
// take besides their contents.
const (
	envelopeMemory   = 256
	nameMemory       = 32
	attachmentMemory = 40
)

// memory returns the approximate number of bytes of memory that a kept record takes,
// headers and rounding included. It is many times Size if the record names many rooms.
func (e *Envelope) memory() int {
	n := envelopeMemory + len(e.Namespace) + len(e.TraceContext) + allocated(cap(e.Payload)) + attachmentMemory*cap(e.Attachments)
	for _, names := range [...][]string{e.Audience.Rooms, e.Audience.Except} {
		n += nameMemory * len(names)
		for _, name := range names {
			n += len(name)
		}
	}
	for _, a := range e.Attachments {
		n += allocated(cap(a))
	}
	return n
}

// allocated returns the approximate size of an allocation for n bytes.
func allocated(n int) int {
	const page = 8 << 10
	if n > 4*page {
		return (n + page - 1) / page * page
	}
	return n + n/8
}

// A Delivery is an envelope with its offset in the log.
type Delivery struct {
	*Envelope

	Offset Offset

	// Redelivery is not zero for a record that this node was given before, at a place that the log has lost: before the last
	// Redelivery calls of Local.LogTruncated. It is then for sockets that became members of their namespace since. Those that
	// were members before have received it, or it preceded them. A record for the server of a node is handled by name: the
	// node may not have come to it before the log lost it. Only Local.Deliver is given Redelivery: Read yields zero, or what
	// Deliver was given.
	Redelivery int
}
