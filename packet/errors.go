package packet

import "errors"

// The errors of a [Decoder]. They are wrapped with the position and details; check
// with [errors.Is]. After an error the connection is to be closed, because the
// decoder may be out of step with the peer.
var (
	// ErrType: the first character is not the digit of a packet type.
	ErrType = errors.New("unknown packet type")

	// ErrUTF8: the text is not valid UTF-8.
	ErrUTF8 = errors.New("text is not UTF-8")

	// ErrAttachments: a binary packet without a count of at least 1 and a dash.
	ErrAttachments = errors.New("illegal count of attachments")

	// ErrAckID: an ACK without an id, or an id above 2^53-1. JavaScript accepts
	// ids of any length and rounds them; an ack with the rounded id would
	// acknowledge another event.
	ErrAckID = errors.New("illegal ack id")

	// ErrJSON: the body is not JSON.
	ErrJSON = errors.New("invalid JSON")

	// ErrBody: a body that is not of the kind that the packet type requires.
	ErrBody = errors.New("body does not fit the packet type")

	// ErrReservedName: an event with a name for which [Reserved] is true.
	ErrReservedName = errors.New("reserved event name")

	// ErrPlaceholder: a placeholder that is malformed, or whose attachment
	// was not announced or has another placeholder; or an attachment without
	// a placeholder.
	ErrPlaceholder = errors.New("illegal placeholder")

	// ErrUnexpectedText: text while attachments are awaited.
	ErrUnexpectedText = errors.New("text instead of an attachment")

	// ErrUnexpectedBinary: a binary message while no attachment is awaited.
	ErrUnexpectedBinary = errors.New("binary message without a packet that announced it")

	// ErrLimit: a packet beyond one of the [Limits].
	ErrLimit = errors.New("packet over a limit")
)
