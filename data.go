package socketio

import (
	"context"
	"encoding/json"
	"fmt"
)

// A Data is a typed value that belongs to a socket and survives recovery. Like an [Event] it is a string, best declared
// as a constant:
//
//	const CurrentUser socketio.Data[User] = "user"
type Data[T any] string

// A dataValue is one value of a socket: as it is stored, and as it was last used. The
// socket's dataMu guards what changes.
type dataValue struct {
	raw    json.RawMessage // nil: the value was deleted
	value  any             // nil after a recovery, until it is read
	former *dataValue      // the value before, until the store has accepted this one
}

// Set sets the value. It returns nil when the value is durable: a recovered socket
// has it, on any node. Get returns the value at once. In middleware Set does not
// wait: the value becomes durable with the session.
//
// After an error Get returns the former value. When ctx ends before the outcome is
// known, the value may still become durable, and Get returns it.
func (d Data[T]) Set(ctx context.Context, s *Socket, v T) error {
	raw, err := marshalJSON(v)
	if err != nil {
		return fmt.Errorf("data %s: %w", string(d), err)
	}
	return s.setData(ctx, string(d), &dataValue{raw: raw, value: v})
}

// Get returns the value, and whether there is one that fits the type. All callers
// share the value.
func (d Data[T]) Get(s *Socket) (T, bool) {
	now, at := s.datum(string(d))
	var v T
	if at == nil {
		return v, false
	}
	if used, ok := now.value.(T); ok {
		return used, true
	}
	if err := json.Unmarshal(now.raw, &v); err != nil {
		var zero T
		return zero, false
	}
	s.decoded(at, v)
	return v, true
}

// A DataSource contains the data that a socket had: an *[ExpiredSession] or a
// *[RemoteSocket].
type DataSource interface {
	snapshot() map[string]json.RawMessage
}

// From returns the value that a session had when it expired, or that a socket of
// the cluster had when it was fetched.
func (d Data[T]) From(was DataSource) (T, bool) {
	var v T
	raw, ok := was.snapshot()[string(d)]
	if !ok || json.Unmarshal(raw, &v) != nil {
		var zero T
		return zero, false
	}
	return v, true
}

// Delete removes the value, durably when it returns nil. Errors have the same effect
// as those of Set.
func (d Data[T]) Delete(ctx context.Context, s *Socket) error {
	return s.setData(ctx, string(d), &dataValue{})
}
