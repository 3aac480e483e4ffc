package eventmap

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/pgsocket/socketio"
)

// A shapeKind is a kind of JSON value, or binary data.
type shapeKind int

const (
	shapeUnknown shapeKind = iota
	shapeBoolean
	shapeNumber
	shapeInteger
	shapeText
	shapeBinary
	shapeList
	shapeRecord // an object with any keys
	shapeObject
	shapeCustom // described by the application
	shapeNamed  // has a definition
)

// A shape is what a Go type looks like on the wire. TypeScript and JSON Schema are
// written from it. Shapes are shared, and not changed once they are complete.
type shape struct {
	kind   shapeKind
	null   bool // or null
	goKind reflect.Kind
	format string // of text: date-time, byte
	length int    // of a list, -1: any
	elem   *shape // of a list or a record
	fields []field
	custom Type
	named  *definition
}

type field struct {
	name     string
	optional bool
	shape    *shape
}

// A definition is a type that has a name.
type definition struct {
	of   reflect.Type
	name string
	body *shape
}

// ErrType reports a type that cannot be described: mostly one that encoding/json cannot
// encode.
var ErrType = errors.New("type that cannot be described")

// A reflector turns Go types into shapes.
type reflector struct {
	types       map[reflect.Type]Type
	definitions map[reflect.Type]*definition
	unnamed     map[reflect.Type]bool // types without a name whose body is being described
}

func newReflector(types []Type) (*reflector, error) {
	r := &reflector{types: make(map[reflect.Type]Type), definitions: make(map[reflect.Type]*definition), unnamed: make(map[reflect.Type]bool)}
	for _, t := range types {
		if t.err != nil {
			return nil, t.err
		}
		known, again := r.types[t.of]
		switch {
		case t.of.Kind() == reflect.Pointer:
			return nil, fmt.Errorf("%s: describe the type that the pointer points to", t.of)
		case again && (known.name != "") == (t.name != ""):
			return nil, fmt.Errorf("%s is described twice", t.of)
		case again: // a Rename and another
			t.name += known.name
			t.typeScript += known.typeScript
			if t.schema == nil {
				t.schema = known.schema
			}
		}
		r.types[t.of] = t
	}
	if op := reflect.TypeFor[socketio.ChangeOp](); r.types[op].typeScript == "" {
		known := Enum(socketio.ChangeInsert, socketio.ChangeUpdate, socketio.ChangeDelete)
		known.name = r.types[op].name
		r.types[op] = known
	}
	return r, nil
}

// shape returns the shape of a type as encoding/json encodes it.
func (r *reflector) shape(t reflect.Type) (*shape, error) {
	if d, ok := r.definitions[t]; ok {
		return r.use(d), nil
	}
	if described := r.types[t]; described.typeScript != "" {
		return r.define(t, func() (*shape, error) { return &shape{kind: shapeCustom, custom: described}, nil })
	}
	if known := wellKnown(t); known != nil {
		return known, nil
	}
	if t.Kind() == reflect.Pointer {
		s, err := r.pointee(t)
		return orNull(s), err
	}
	switch byValue, byPointer := methods(t); {
	case byPointer != byValue: // depends on whether the value is addressable
		return &shape{}, nil
	case byValue == marshalsText:
		return &shape{kind: shapeText}, nil
	case byValue == marshalsJSON:
		return &shape{}, nil
	}
	switch k := t.Kind(); {
	case k == reflect.Interface:
		return &shape{}, nil
	case k == reflect.Struct || k == reflect.Array || k == reflect.Slice || k == reflect.Map || isBasic(k):
		return r.define(t, func() (*shape, error) { return r.body(t) })
	default:
		return nil, fmt.Errorf("%w: %s", ErrType, t)
	}
}

// pointee returns the shape of what a pointer that is not nil points to.
func (r *reflector) pointee(t reflect.Type) (*shape, error) {
	elem := t.Elem()
	for depth, p := 0, t; p.Kind() == reflect.Pointer; p = p.Elem() {
		if depth++; depth > 10 {
			return nil, fmt.Errorf("%w: %s points to itself", ErrType, t)
		}
	}
	if described := r.types[elem]; described.typeScript == "" && elem.Kind() != reflect.Pointer && elem.Kind() != reflect.Interface {
		switch byValue, byPointer := methods(elem); {
		case byValue == byPointer:
		case byPointer == marshalsText:
			return &shape{kind: shapeText}, nil
		default:
			return &shape{}, nil
		}
	}
	return r.shape(elem)
}

// marshals is the method by which encoding/json encodes a type.
type marshals int

const (
	marshalsPlain marshals = iota
	marshalsText
	marshalsJSON
)

// methods returns how encoding/json encodes values of a type that is not a pointer: those
// that are not addressable, and those that are.
func methods(t reflect.Type) (byValue, byPointer marshals) {
	if t.Kind() == reflect.Interface {
		return marshalsPlain, marshalsPlain
	}
	of := func(t reflect.Type) marshals {
		switch {
		case t.Implements(reflect.TypeFor[json.Marshaler]()):
			return marshalsJSON
		case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
			return marshalsText
		default:
			return marshalsPlain
		}
	}
	return of(t), of(reflect.PointerTo(t))
}

// wellKnown returns the shape of a type whose methods hide it, or nil.
func wellKnown(t reflect.Type) *shape {
	switch t {
	case reflect.TypeFor[socketio.Binary]():
		return &shape{kind: shapeBinary}
	case reflect.TypeFor[time.Time]():
		return &shape{kind: shapeText, format: "date-time"}
	case reflect.TypeFor[json.Number]():
		return &shape{kind: shapeNumber}
	default:
		return nil
	}
}

func orNull(s *shape) *shape {
	if s == nil || s.null || s.kind == shapeUnknown {
		return s
	}
	nullable := *s
	nullable.null = true
	return &nullable
}

// define returns the shape of a type that is neither a pointer nor an interface. A type
// with a name of its own gets a definition, before its body is known: that may contain the
// type itself.
func (r *reflector) define(t reflect.Type, body func() (*shape, error)) (*shape, error) {
	if t.PkgPath() == "" {
		if r.unnamed[t] {
			return nil, fmt.Errorf("%w: %s contains itself and has no name", ErrType, t)
		}
		r.unnamed[t] = true
		s, err := body()
		delete(r.unnamed, t)
		if err == nil && isNilable(t) && s.kind != shapeCustom {
			s = orNull(s)
		}
		return s, err
	}
	d := &definition{of: t}
	r.definitions[t] = d
	s, err := body()
	if err != nil {
		return nil, err
	}
	d.body = s
	return r.use(d), nil
}

// use returns a reference to a definition, which is nullable where the type may be nil.
func (r *reflector) use(d *definition) *shape {
	s := &shape{kind: shapeNamed, named: d}
	if isNilable(d.of) && r.types[d.of].typeScript == "" {
		return orNull(s)
	}
	return s
}

func isNilable(t reflect.Type) bool { return t.Kind() == reflect.Slice || t.Kind() == reflect.Map }

// body returns the shape of a type without methods, not being nil.
func (r *reflector) body(t reflect.Type) (*shape, error) {
	switch k := t.Kind(); k {
	case reflect.Struct:
		return r.object(t)
	case reflect.Map:
		if k := t.Key().Kind(); k != reflect.String && !isInteger(k) && !t.Key().Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
			return nil, fmt.Errorf("%w: %s: its keys are not text", ErrType, t)
		}
		return r.container(t, shape{kind: shapeRecord})
	case reflect.Slice:
		if _, byPointer := methods(t.Elem()); t.Elem().Kind() == reflect.Uint8 && byPointer == marshalsPlain {
			return &shape{kind: shapeText, format: "byte"}, nil
		}
		return r.container(t, shape{kind: shapeList, length: -1})
	case reflect.Array:
		return r.container(t, shape{kind: shapeList, length: t.Len()})
	case reflect.Bool:
		return &shape{kind: shapeBoolean}, nil
	case reflect.String:
		return &shape{kind: shapeText}, nil
	case reflect.Float32, reflect.Float64:
		return &shape{kind: shapeNumber, goKind: k}, nil
	default:
		return &shape{kind: shapeInteger, goKind: k}, nil
	}
}

func (r *reflector) container(t reflect.Type, s shape) (*shape, error) {
	elem, err := r.shape(t.Elem())
	s.elem = elem
	return &s, err
}

func (r *reflector) object(t reflect.Type) (*shape, error) {
	s := &shape{kind: shapeObject}
	for _, f := range jsonFields(t) {
		inner, err := r.member(&f)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t, f.name, err)
		}
		s.fields = append(s.fields, field{name: f.name, optional: f.optional(), shape: inner})
	}
	return s, nil
}

// member returns the shape of a field that is not omitted.
func (r *reflector) member(f *goField) (*shape, error) {
	if f.typ.Kind() == reflect.Pointer {
		inner, err := r.pointee(f.typ)
		if f.quoted && isPlain(f.typ.Elem()) {
			inner = &shape{kind: shapeText}
		}
		if f.omitsNil() {
			return inner, err
		}
		return orNull(inner), err
	}
	if f.quoted {
		switch byValue, byPointer := methods(f.typ); {
		case byValue != marshalsPlain: // the option has no effect
		case byPointer == marshalsJSON:
			return &shape{}, nil
		default: // quoted, or MarshalText of an addressable value
			return &shape{kind: shapeText}, nil
		}
	}
	s, err := r.shape(f.typ)
	if err == nil && s.null && f.omitsNil() {
		present := *s
		present.null = false
		s = &present
	}
	return s, err
}

// isPlain reports whether encoding/json encodes a type without its methods, addressable or
// not.
func isPlain(t reflect.Type) bool {
	byValue, byPointer := methods(t)
	return byValue == marshalsPlain && byPointer == marshalsPlain
}
