package adapter

// A Kind says what an Envelope is for. Its values are stored in the log: they
// keep their numbers.
type Kind uint8

// The kinds of envelope.
const (
	Event    Kind = 0 // an event for sockets; replayed to those that missed it
	Volatile Kind = 1 // an event for sockets that can take it now; never replayed
	Evict    Kind = 2 // a session went to another node: whoever still holds it lets go
)

// An Envelope is one emit on its road through the log. It is immutable once it
// has been published.
type Envelope struct {
	Kind        Kind
	Namespace   string
	Audience    Audience
	Payload     []byte   // Event, Volatile: the JSON array of name and arguments
	Attachments [][]byte // the binary arguments that placeholders in Payload refer to
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

// A Delivery is an envelope with its place in the log.
type Delivery struct {
	*Envelope

	Offset Offset
}
