package eventmap

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/packet"
)

// An event is a signature with the shapes of its arguments.
type event struct {
	name    string
	any     bool // the arguments are not known
	args    []argument
	request bool
	answers []argument
}

type argument struct {
	name  string
	shape *shape
}

// A described namespace.
type namespace struct {
	name   string
	prefix string // of its TypeScript types
	toClient,
	toServer []event
	data      []field
	histories []string // the names of the events whose payload is a RoomHistory
}

// A described map.
type description struct {
	namespaces  []namespace
	errorReply  *shape
	definitions []*definition // by name
}

func (m *Map) describe() (*description, error) {
	r, err := newReflector(m.Types)
	if err != nil {
		return nil, err
	}
	d := &description{}
	for _, n := range m.Namespaces {
		described, err := r.namespace(&n)
		if err != nil {
			return nil, fmt.Errorf("namespace %q: %w", n.Name, err)
		}
		same := func(other namespace) bool { return other.prefix == described.prefix }
		if slices.ContainsFunc(d.namespaces, same) {
			return nil, fmt.Errorf("namespace %q: another namespace has the prefix %q", n.Name, described.prefix)
		}
		d.namespaces = append(d.namespaces, described)
	}
	reply := m.ErrorReply
	if reply == nil {
		reply = reflect.TypeOf(defaultErrorReply{}.ErrorReply)
	}
	if d.errorReply, err = r.argument(reply); err != nil {
		return nil, fmt.Errorf("error reply: %w", err)
	}
	d.definitions, err = r.name(d.namespaces)
	return d, err
}

// defaultErrorReply is what Options.ErrorReply returns by default. The type of its field
// has no name, and so no definition.
type defaultErrorReply struct {
	ErrorReply struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message,omitempty"`
			Data    any    `json:"data,omitempty"`
		} `json:"error"`
	}
}

func (r *reflector) namespace(n *Namespace) (namespace, error) {
	described := namespace{name: n.Name, prefix: typePrefix(n.Name)}
	if n.Name == "" {
		described.name = "/"
	}
	var err error
	histories, toClient := withoutHistories(n.ServerToClient)
	if described.toClient, err = r.events(toClient); err != nil {
		return described, err
	}
	described.describeHistories(histories)
	if described.toServer, err = r.events(n.ClientToServer); err != nil {
		return described, err
	}
	for _, s := range n.Data {
		if slices.ContainsFunc(described.data, func(f field) bool { return f.name == s.Name }) {
			return described, fmt.Errorf("data %q is listed twice", s.Name)
		}
		value, err := r.stored(s.Payload)
		if err != nil {
			return described, fmt.Errorf("data %q: %w", s.Name, err)
		}
		described.data = append(described.data, field{name: s.Name, optional: true, shape: value})
	}
	return described, nil
}

// withoutHistories returns the names of the histories among the signatures, and the signatures
// without the payloads of these.
func withoutHistories(signatures []socketio.Signature) (names []string, others []socketio.Signature) {
	others = slices.Clone(signatures)
	for i, s := range others {
		if s.Payload == reflect.TypeFor[socketio.RoomHistory]() && s.Answer == nil {
			names = append(names, s.Name)
			others[i].Payload = reflect.TypeFor[socketio.None]()
		}
	}
	return names, others
}

// describeHistories describes the payloads of histories, whose events are those of the
// namespace.
func (n *namespace) describeHistories(names []string) {
	n.histories = names
	for i, e := range n.toClient {
		if slices.Contains(names, e.name) {
			n.toClient[i].args = []argument{{"payload", &shape{kind: shapeCustom, custom: Type{
				typeScript: n.prefix + "RoomHistory", schema: historySchema(),
			}}}}
		}
	}
}

func historySchema() any {
	type object = map[string]any
	return object{
		"type": "object", "required": []string{"room", "events", "complete"},
		"properties": object{
			"room":     object{"type": "string"},
			"complete": object{"type": "boolean"},
			"events": object{"type": "array", "items": object{
				"type": "array", "items": []any{object{"type": "string"}}, "additionalItems": object{}, "minItems": 1,
			}},
		},
	}
}

func (r *reflector) events(signatures []socketio.Signature) ([]event, error) {
	names := make(map[string]bool)
	events := make([]event, len(signatures))
	for i, s := range signatures {
		switch {
		case packet.Reserved(s.Name):
			return nil, fmt.Errorf("event %q: %w", s.Name, socketio.ErrReserved)
		case names[s.Name]:
			return nil, fmt.Errorf("event %q is listed twice", s.Name)
		}
		names[s.Name] = true
		e := event{name: s.Name, any: s.Payload == nil, request: s.Answer != nil}
		var err error
		if !e.any {
			e.args, err = r.arguments(s.Payload, "payload")
		}
		if err == nil && e.request {
			e.answers, err = r.arguments(s.Answer, "answer")
		}
		if err != nil {
			return nil, fmt.Errorf("event %q: %w", s.Name, err)
		}
		events[i] = e
	}
	return events, nil
}

// arguments returns what represents a payload on the wire, see arguments in package
// socketio.
func (r *reflector) arguments(t reflect.Type, name string) ([]argument, error) {
	if t == reflect.TypeFor[socketio.None]() {
		return nil, nil
	}
	if !reflect.PointerTo(t).Implements(reflect.TypeFor[socketio.Positional]()) {
		s, err := r.argument(t)
		return []argument{{name, s}}, err
	}
	value := reflect.New(t)
	var values []any
	positional, _ := reflect.TypeAssert[socketio.Positional](value)
	if err := boundary.Do(func() { values = positional.Args() }); err != nil {
		return nil, fmt.Errorf("%s: Args of the zero value: %w", t, err)
	}
	args := make([]argument, len(values))
	for i, v := range values {
		s, err := r.positional(v)
		if err != nil {
			return nil, fmt.Errorf("%s: argument %d: %w", t, i, err)
		}
		args[i] = argument{argumentName(value.Elem(), v, i, args[:i]), s}
	}
	return args, nil
}

// argument returns the shape of a payload that is one argument.
func (r *reflector) argument(t reflect.Type) (*shape, error) {
	switch {
	case t == reflect.TypeFor[[]byte]():
		return &shape{kind: shapeBinary}, nil
	case t == reflect.TypeFor[*[]byte](), t == reflect.TypeFor[*socketio.None](), t.Implements(reflect.TypeFor[socketio.Positional]()):
		return nil, fmt.Errorf("%w: %s", socketio.ErrPayloadType, t)
	default:
		return r.shape(t)
	}
}

// positional returns the shape of what Args returned: the value that a pointer points to,
// or the value itself.
func (r *reflector) positional(v any) (*shape, error) {
	t := reflect.TypeOf(v)
	switch {
	case t == nil:
		return &shape{}, nil
	case t == reflect.TypeFor[*[]byte](), t == reflect.TypeFor[[]byte]():
		return &shape{kind: shapeBinary}, nil
	case t.Kind() == reflect.Pointer:
		return r.pointee(t)
	default:
		return r.shape(t)
	}
}

// stored returns the shape of a value that is not sent, in which Binary is not an
// attachment.
func (r *reflector) stored(t reflect.Type) (*shape, error) {
	s, err := r.shape(t)
	if err == nil && s.hasBinary(make(map[*definition]bool)) {
		return &shape{}, nil
	}
	return s, err
}

func (s *shape) hasBinary(seen map[*definition]bool) bool {
	switch s.kind {
	case shapeBinary:
		return true
	case shapeList, shapeRecord:
		return s.elem.hasBinary(seen)
	case shapeObject:
		return slices.ContainsFunc(s.fields, func(f field) bool { return f.shape.hasBinary(seen) })
	case shapeNamed:
		if seen[s.named] {
			return false
		}
		seen[s.named] = true
		return s.named.body.hasBinary(seen)
	default:
		return false
	}
}

// argumentName returns the name of the field of value that arg points to, or a number. No
// argument before has it.
func argumentName(value reflect.Value, arg any, number int, before []argument) string {
	free := func(name string) bool {
		return !slices.ContainsFunc(before, func(a argument) bool { return a.name == name })
	}
	name := fmt.Sprintf("arg%d", number)
	for !free(name) { // a field is named arg1
		name += "_"
	}
	p := reflect.ValueOf(arg)
	if p.Kind() != reflect.Pointer || value.Kind() != reflect.Struct {
		return name
	}
	for i := range value.NumField() {
		sf := value.Type().Field(i)
		if value.Field(i).Addr().Pointer() != p.Pointer() || reflect.PointerTo(sf.Type) != p.Type() {
			continue
		}
		found := lowerFirst(sf.Name)
		if tag, _, _ := strings.Cut(sf.Tag.Get("json"), ","); isIdentifier(tag) {
			found = tag
		}
		if !slices.Contains(noParameter, found) && free(found) {
			return found
		}
	}
	return name
}

// lowerFirst lowers the first word of a Go name: ID is id, and URLPath is urlPath.
func lowerFirst(name string) string {
	runes := []rune(name)
	for i, c := range runes {
		if !unicode.IsUpper(c) || i > 0 && i+1 < len(runes) && unicode.IsLower(runes[i+1]) {
			break
		}
		runes[i] = unicode.ToLower(c)
	}
	return string(runes)
}

// noParameter are words that JavaScript or TypeScript does not take as the name of a
// parameter, and the one that is taken.
//
//nolint:gochecknoglobals // a constant
var noParameter = strings.Fields("callback arguments await break case catch class const continue debugger default delete do else enum eval " +
	"export extends false finally for function if implements import in instanceof interface let new null package private " +
	"protected public return static super switch this throw true try typeof var void while with yield")
