package socketio

import (
	"context"
	"encoding/json"
	"fmt"
)

// A Data is a typed value that belongs to a socket and survives recovery: what
// other libraries keep in closures. Like an [Event] it is a string, best declared
// as a constant:
//
//	const CurrentUser socketio.Data[User] = "user"
type Data[T any] string

// A datum is one value of a socket: as it is stored, and as it was last used.
type datum struct {
	raw   json.RawMessage
	value any // nil after a recovery, until it is read
}

// Set sets the value. It returns nil when the value is durable: a client that
// comes back, to whatever node, finds it. The value is seen by Get at once. In a
// gate Set does not wait: the value becomes durable with the session.
func (d Data[T]) Set(ctx context.Context, s *Socket, v T) error {
	raw, err := marshalJSON(v)
	if err != nil {
		return fmt.Errorf("data %s: %w", string(d), err)
	}
	return s.setData(ctx, string(d), datum{raw, v})
}

// Get returns the value, and whether there is one that fits the type. The value
// is shared by all that get it.
func (d Data[T]) Get(s *Socket) (T, bool) {
	found, ok := s.datum(string(d))
	if !ok {
		var zero T
		return zero, false
	}
	if v, ok := found.value.(T); ok {
		return v, true
	}
	var v T
	if err := json.Unmarshal(found.raw, &v); err != nil {
		var zero T
		return zero, false
	}
	s.keepDatum(string(d), found.raw, v)
	return v, true
}

// A Snapshot is what the data of a socket was: an *[ExpiredSession] or a
// *[RemoteSocket].
type Snapshot interface {
	snapshot() map[string]json.RawMessage
}

// Of returns the value that a session had when it expired, or a socket of the
// cluster when it was fetched.
func (d Data[T]) Of(was Snapshot) (T, bool) {
	var v T
	raw, ok := was.snapshot()[string(d)]
	if !ok || json.Unmarshal(raw, &v) != nil {
		var zero T
		return zero, false
	}
	return v, true
}

// Delete removes the value, durable when it returns nil.
func (d Data[T]) Delete(ctx context.Context, s *Socket) error {
	return s.setData(ctx, string(d), datum{})
}
