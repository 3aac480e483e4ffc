package adapter

import (
	"encoding/json"
	"fmt"
)

// A Kind says what an Envelope is for. Its values are stored in the log: they
// keep their numbers.
type Kind uint8

// The kinds of envelope.
const (
	Event        Kind = 0 // an event for sockets; replayed to those that missed it
	Volatile     Kind = 1 // an event for sockets that can take it now; never replayed
	SessionMoved Kind = 2 // a session went to another node: whoever still holds it lets go

	// Operations: what they do to a session, connected or away, they do at
	// their place in the log.
	Join       Kind = 3 // the audience joins the rooms that Payload lists
	Leave      Kind = 4 // the audience leaves the rooms that Payload lists
	Disconnect Kind = 5 // the audience is disconnected, and its sessions end

	Request  Kind = 6 // nodes are asked for something; Payload is the server's own
	Answer   Kind = 7 // for the node whose ID is Audience.Rooms[0]
	NodeLeft Kind = 8 // the node whose ID is Payload has lost its connections; published by the adapter
)

// Operation reports whether envelopes of the kind change the rooms of sessions,
// or end them.
func (k Kind) Operation() bool { return k == Join || k == Leave || k == Disconnect }

// RoomList returns the payload of a Join or Leave.
func RoomList(rooms []string) ([]byte, error) { return json.Marshal(rooms) }

// RoomList returns the rooms that the payload of a Join or Leave lists.
func (e *Envelope) RoomList() ([]string, error) {
	var rooms []string
	if err := json.Unmarshal(e.Payload, &rooms); err != nil {
		return nil, fmt.Errorf("list of rooms: %w", err)
	}
	return rooms, nil
}

// An Envelope is one emit, or another message of a node, on its road through the log. It is immutable once it
// has been published.
type Envelope struct {
	Kind        Kind
	Namespace   string
	Audience    Audience
	Payload     []byte   // Event, Volatile: the JSON array of name and arguments; else see Kind
	Attachments [][]byte // the binary arguments that placeholders in Payload refer to

	// LocalOnly, if not nil, reports whether all whom the envelope concerns are on the
	// node that publishes it. It is a hint for the adapter and no part of the
	// record: no Delivery has it. While Here holds, the other nodes may be left to
	// find the record when they next read the log. An adapter that does so asks
	// again once it has delivered the record to this node, and if Here does not hold
	// any more it tells the others at once: whom the envelope concerns may be there.
	// Here is called from any goroutine, and does not wait.
	LocalOnly func() bool
}

// Answers reports whether the envelope is an Answer for the node with the ID.
func (e *Envelope) Answers(node string) bool {
	return e.Kind == Answer && len(e.Audience.Rooms) == 1 && e.Audience.Rooms[0] == node
}

// Size returns about how many bytes the envelope takes in the log.
func (e *Envelope) Size() int {
	n := 16 + len(e.Namespace) + len(e.Payload)
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

// What an envelope takes in memory besides its bytes, with its place in a list of
// deliveries; and what a name and an attachment take.
const (
	envelopeMemory   = 256
	nameMemory       = 32
	attachmentMemory = 40
)

// memory returns about how many bytes of memory a kept record takes, headers and
// rounding included: many times its Size, if it names many rooms.
func (e *Envelope) memory() int {
	n := envelopeMemory + len(e.Namespace) + allocated(cap(e.Payload)) + attachmentMemory*cap(e.Attachments)
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

// allocated returns about what an allocation of n bytes takes.
func allocated(n int) int {
	const page = 8 << 10
	if n > 4*page {
		return (n + page - 1) / page * page
	}
	return n + n/8
}

// A Delivery is an envelope with its place in the log.
type Delivery struct {
	*Envelope

	Offset Offset
}
