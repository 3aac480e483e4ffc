package socketio

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
)

// An Event is a name on the wire bound to the type of its payload. It is a
// string, and is best declared as a constant, shared by the code that emits and the
// code that handles it:
//
//	const Posted socketio.Event[Post] = "chat:post"
//
// The payload is one argument, encoded as encoding/json does it, but without
// escaping <, > and &. Three types are encoded differently: [None] is no argument,
// []byte is binary data, and a [Positional] is several arguments. Pointers to
// these are refused: at registration with a panic, else with ErrPayloadType.
type Event[T any] string

// On registers the handler of the event. Its ctx ends when the socket is
// disconnected. A client that waits for an acknowledgement, for example because of its
// option retries, receives one without arguments when the handler has returned nil, and
// the error as that of a [Request] otherwise. Else an error is logged. An event without an
// argument is nil for a T that is a pointer or an interface; for any other T it
// does not reach the handler, see ErrMissingArgument.
func (e Event[T]) On(r Registrar, h func(ctx context.Context, s *Socket, v T) error) {
	mustTravel[T](string(e))
	mustExist(h, "handler for event "+string(e))
	register(r, e.Signature(), func(ctx context.Context, m *Message) error {
		var v T
		if err := decodePayload(m.args, m.attachments, &v); err != nil {
			return badPayload(string(e), err)
		}
		if err := h(ctx, m.socket, v); err != nil || !m.WantsReply() {
			return err
		}
		return m.Reply()
	})
}

// Emit emits the event. It returns nil when the event is in the log, durable as
// the log is configured; every socket of the target that is connected then gets
// it, and every session that is recovered in time. For local and volatile targets
// nil means only that the event is on its way.
//
// When ctx ends before that, Emit returns its cause: the event was then emitted at
// most once, and not at all if it had not been sent to the log yet. The emits of
// one goroutine keep their order. For a socket whose middleware is running the
// error is ErrNotConnected.
func (e Event[T]) Emit(ctx context.Context, to Target, v T) error {
	r := to.route()
	envelope, err := envelope(r, string(e), v)
	if err != nil {
		return err
	}
	return r.emit(ctx, envelope)
}

// EmitAsync queues the event, in order with the emits before and after it, and
// returns at once; the Receipt returns the outcome. Until Receipt.Wait is called
// the adapter may delay it for a moment, so that more events share an append, see
// pgadapter.Options.Linger. When the queue is full EmitAsync waits for at most
// Options.EmitTimeout, and then returns a receipt that has failed with
// ErrQueueFull.
func (e Event[T]) EmitAsync(to Target, v T) *Receipt {
	r := to.route()
	envelope, err := envelope(r, string(e), v)
	if err != nil {
		return adapter.Completed(err)
	}
	return r.emitAsync(envelope)
}

// Envelope returns what Emit would publish, for callers that write it to the log
// themselves: pgadapter.EmitTx does so in a transaction of the application. A local
// target is refused with ErrLocal.
func (e Event[T]) Envelope(to Target, v T) (*adapter.Envelope, error) {
	r := to.route()
	if r.local {
		return nil, ErrLocal
	}
	return envelope(r, string(e), v)
}

// A Receipt is the future outcome of an EmitAsync. Its Wait returns nil once the event is
// in the log, the error that prevented it, or the cause of ctx when that ends first: the
// event may still be emitted then. Its Withdraw takes the event back, and returns true, if it
// has not been sent to the log yet.
type Receipt = adapter.Receipt

// A Request is an event whose receiver answers: Socket.IO's acknowledgement,
// typed.
type Request[Q, R any] string

// On registers the handler of the request. What it returns is the answer; an
// error becomes the acknowledgement that Options.ErrorReply returns for it.
func (q Request[Q, R]) On(r Registrar, h func(ctx context.Context, s *Socket, v Q) (R, error)) {
	mustTravel[Q](string(q))
	mustTravel[R](string(q))
	mustExist(h, "handler for event "+string(q))
	register(r, q.Signature(), func(ctx context.Context, m *Message) error {
		var v Q
		if err := decodePayload(m.args, m.attachments, &v); err != nil {
			return badPayload(string(q), err)
		}
		answer, err := h(ctx, m.socket, v)
		if err != nil {
			return err
		}
		if !m.WantsReply() {
			return nil // the client emitted without a callback
		}
		args, err := arguments(answer)
		if err != nil {
			return err
		}
		return m.Reply(args...)
	})
}

// Call sends the request to one socket and waits for its answer. A *[Socket] is asked
// directly. So is a *[RemoteSocket] that is connected to this node; for one of another
// node request and answer go through the log.
//
// Call returns as soon as the outcome is known. These are its errors, for errors.Is and
// errors.As, besides those of a payload that cannot be encoded:
//
//	ErrNotConnected      no node has the socket: its client is away, or gone
//	*DisconnectError     the socket was disconnected before it answered
//	*NodeError           with ErrNodeGone: the node of the socket, or one that may have
//	                     had it, was killed or left before it answered
//	the cause of ctx     the socket, or a node that may have it, did not answer in time;
//	                     context.DeadlineExceeded after Options.AckTimeout if ctx has
//	                     no deadline
//	adapter.ErrTooLarge  the request is too large for the log, and was not sent
//	*Error               the answer is too large for the log
//
// An answer that does not fit R is an error as well: a callback() without an argument is
// nil for an R that is a pointer or an interface, and ErrMissingArgument for any other R.
// Any other error means that the request was not sent, or that the log could not be read.
//
// After a *DisconnectError, a *NodeError or the cause of ctx the client may have received
// the request. It is not repeated when the client returns. An answer that comes later is
// ignored: it is never the answer to another request.
func (q Request[Q, R]) Call(ctx context.Context, to Callee, v Q) (R, error) {
	var answer R
	p, err := encodeEvent(string(q), v)
	if err != nil {
		return answer, err
	}
	reply, err := to.call(ctx, p)
	if err != nil {
		return answer, fmt.Errorf("call %s: %w", string(q), err)
	}
	if err := decodeBody(reply.Data, reply.Attachments, &answer); err != nil {
		return answer, fmt.Errorf("answer to %s: %w", string(q), err)
	}
	return answer, nil
}

// None is the payload of an event without arguments, and of an empty
// acknowledgement.
type None struct{}

// Positional is a payload of several arguments on the wire. Args returns
// pointers to them, in order, for encoding and decoding:
//
//	func (m *Move) Args() []any { return []any{&m.Piece, &m.X, &m.Y} }
type Positional interface{ Args() []any }

func envelope[T any](r route, event string, v T) (*adapter.Envelope, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case !r.connected():
		return nil, ErrNotConnected
	}
	p, err := encodeEvent(event, v)
	if err != nil {
		return nil, err
	}
	kind := adapter.Event
	if r.volatile {
		kind = adapter.Volatile
	}
	return &adapter.Envelope{
		Kind: kind, Namespace: r.namespace, Audience: r.audience,
		Payload: p.json, Attachments: p.attachments, LocalOnly: r.localOnly,
	}, nil
}

func encodeEvent[T any](event string, v T) (payload, error) {
	if event == "" || packet.Reserved(event) {
		return payload{}, fmt.Errorf("%w: %q", ErrReserved, event)
	}
	args, err := arguments(v)
	if err != nil {
		return payload{}, fmt.Errorf("%q: %w", event, err)
	}
	return encodeArgs(event, args)
}

// arguments returns the arguments that represent v on the wire.
func arguments[T any](v T) ([]any, error) {
	switch p := any(&v).(type) {
	case *None:
		return nil, nil
	case Positional:
		return p.Args(), nil
	default:
		return []any{v}, misfit(v)
	}
}

// decodePayload is the inverse of arguments.
func decodePayload[T any](args []json.RawMessage, attachments [][]byte, v *T) error {
	switch p := any(v).(type) {
	case *None:
		return nil
	case Positional:
		return decodeArgs(args, attachments, p.Args())
	default:
		if err := misfit(*v); err != nil {
			return err
		}
		return decodeArgs(args, attachments, []any{v})
	}
}

// decodeBody decodes the body of an acknowledgement, which may come from another
// node.
func decodeBody[T any](body []byte, attachments [][]byte, v *T) error {
	args, err := packet.SplitArgs(body, nil)
	if err != nil {
		return err
	}
	return decodePayload(args, attachments, v)
}

// misfit reports, as ErrPayloadType, that v is a pointer to a type that is not encoded
// as plain JSON.
func misfit(v any) error {
	switch v.(type) {
	case Positional, *None, *[]byte:
		return fmt.Errorf("%w: %T", ErrPayloadType, v)
	default:
		return nil
	}
}

// mustTravel panics if T cannot be a payload.
func mustTravel[T any](event string) {
	var v T
	if _, ok := any(&v).(Positional); ok {
		return
	}
	if !encodable(&v) {
		panic("socketio: " + event + ": " + reflect.TypeFor[T]().String() + " cannot be encoded as JSON") //nolint:forbidigo // a programmer's mistake at registration
	}
	err := misfit(v)
	if t := reflect.TypeFor[T](); err == nil && t.Implements(reflect.TypeFor[Positional]()) {
		err = fmt.Errorf("%w: %s", ErrPayloadType, t) // an interface
	}
	if err != nil {
		panic("socketio: " + event + ": " + err.Error()) //nolint:forbidigo // a programmer's mistake at registration
	}
}

// encodable reports whether encoding/json may encode what pointer points to; it does not
// look at fields.
func encodable(pointer any) bool {
	switch reflect.TypeOf(pointer).Elem().Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		switch pointer.(type) {
		case json.Marshaler, json.Unmarshaler, encoding.TextMarshaler, encoding.TextUnmarshaler:
			return true
		default:
			return false
		}
	default:
		return true
	}
}
