package socketio

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
)

// A Signature is the name of an [Event], a [Request], a [History] or a [Data] with the Go types that
// it is bound to. Package eventmap writes TypeScript types and an AsyncAPI document from
// signatures.
type Signature struct {
	Name    string
	Payload reflect.Type // nil: not known, because the handler was registered with Handle
	Answer  reflect.Type // of a Request; nil for anything else
}

// Signature returns the event's name and the type of its payload.
func (e Event[T]) Signature() Signature {
	return Signature{Name: string(e), Payload: reflect.TypeFor[T]()}
}

// Signature returns the event's name and the type of its payload.
func (y History) Signature() Signature {
	return Signature{Name: string(y), Payload: reflect.TypeFor[RoomHistory]()}
}

// Signature returns the request's name and the types of its payload and its answer.
func (q Request[Q, R]) Signature() Signature {
	return Signature{Name: string(q), Payload: reflect.TypeFor[Q](), Answer: reflect.TypeFor[R]()}
}

// Signature returns the key of the data and the type of its value.
func (d Data[T]) Signature() Signature {
	return Signature{Name: string(d), Payload: reflect.TypeFor[T]()}
}

// Handled returns the events of clients that have a handler, sorted by name. Those that
// were registered with Handle, and not with [Event.On] or [Request.On], have no types.
func (g *registry) Handled() []Signature {
	t := g.table.Load()
	handled := make([]Signature, 0, len(t.registered))
	for name := range t.registered {
		s, ok := t.signatures[name]
		if !ok {
			s = Signature{Name: name}
		}
		handled = append(handled, s)
	}
	slices.SortFunc(handled, func(a, b Signature) int { return cmp.Compare(a.Name, b.Name) })
	return handled
}

// register registers the handler of a typed event. Only the registry of this package
// records the types: a Registrar of the application may register the handler under
// another name, or not at all.
func register(r Registrar, s Signature, h Handler) {
	r.Handle(s.Name, h)
	if g, ok := r.(interface{ describe(Signature) }); ok {
		g.describe(s)
	}
}

// describe records the types of an event, if that has a handler.
func (g *registry) describe(s Signature) {
	for {
		was := g.table.Load()
		if _, handled := was.registered[s.Name]; !handled {
			return
		}
		t := *was
		t.signatures = maps.Clone(t.signatures)
		if t.signatures == nil {
			t.signatures = make(map[string]Signature)
		}
		t.signatures[s.Name] = s
		if g.table.CompareAndSwap(was, &t) {
			return
		}
	}
}
