package socketio

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"github.com/pgsocket/socketio/packet"
)

// A Handler handles one event of one socket. It is the untyped form behind
// [Event] and [Request]: for names that are only known at run time, for proxies
// and for interceptors. An error is sent to the peer if it waits for a reply and
// none was sent yet; otherwise it is logged.
type Handler func(ctx context.Context, m *Message) error

// An Interceptor wraps the handler of every event of a namespace.
type Interceptor func(next Handler) Handler

// A Registrar takes handlers: a *[Server] (for the namespace "/"), a *[Namespace]
// or a *[ParentNamespace].
type Registrar interface {
	Handle(event string, h Handler)
}

// A Message is an event that a client sent. It is valid until its handler
// returns, except Reply, which may be called later.
type Message struct {
	socket      *Socket
	event       string
	args        []json.RawMessage
	attachments [][]byte
	size        int // in memory, in bytes
	ackID       uint64
	wantsReply  atomic.Bool
	span        *span     // nil without a Tracer
	handling    *handling // since its handler runs
}

// Socket returns the socket that sent the event.
func (m *Message) Socket() *Socket { return m.socket }

// Event returns the event's name.
func (m *Message) Event() string { return m.event }

// Args returns the event's arguments as they were received. Binary data appears as
// {"_placeholder":true,"num":i}; Decode resolves it, also into a json.RawMessage
// that can be emitted again.
func (m *Message) Args() []json.RawMessage { return m.args }

// Decode decodes the arguments, in order, into dst: pointers as json.Unmarshal
// takes them, or *[]byte for binary data. Arguments beyond len(dst) are ignored. A
// missing one is nil, if its destination is a pointer or an interface, and
// ErrMissingArgument otherwise.
func (m *Message) Decode(dst ...any) error {
	return decodeArgs(m.args, m.attachments, dst)
}

// WantsReply reports whether the peer waits for a reply.
func (m *Message) WantsReply() bool { return m.wantsReply.Load() }

// Reply sends the acknowledgement that the peer waits for. A second call, and a call
// without a waiting peer, return ErrReplied. It queues the packet and does not wait for
// the client. After an encoding error the peer still waits.
//
// After an [Event.Publish] in the handler, the acknowledgement is sent when the handler has
// returned and the published events are in the log. If one of them fails, the peer receives
// that error in its place. A Reply after the handler has returned waits for that, and returns
// ErrReplied if the peer has received an error.
func (m *Message) Reply(args ...any) error { return m.reply(false, args...) }

// reply is Reply. Only an error is sent after a publish has failed.
func (m *Message) reply(isError bool, args ...any) error {
	p, err := encodeArgs("", args)
	if err != nil {
		return err
	}
	messages, err := m.socket.messages(&packet.Packet{Type: packet.Ack, ID: m.ackID, HasID: true}, p)
	if err != nil {
		return err
	}
	if now, err := m.handling.reply(messages, isError); !now {
		return err
	}
	return m.socket.sendMessages(messages)
}
