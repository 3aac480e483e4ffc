package socketio

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// An argumentError reports a value of a client that does not decode. Its text is for the
// application; what a client receives is that of badPayload.
type argumentError struct {
	number int // of the argument, -1: the only one
	dst    any
	err    error
}

func (e *argumentError) Error() string {
	if e.number < 0 {
		return e.err.Error()
	}
	return fmt.Sprintf("argument %d: %v", e.number, e.err)
}

func (e *argumentError) Unwrap() error { return e.err }

// badPayload returns the error, for the client, of values that do not decode. It says
// what JSON was expected and where. It contains no Go type and no text of another package:
// neither means anything to a client, and both would tell it about the program. The text is
// truncated, because encoding/json quotes numbers of the client in full.
func badPayload(event string, err error) error {
	var where, why string
	switch a, ok := asType[*argumentError](err); {
	case ok:
		where, why = a.describe()
	case isError(err, ErrMissingArgument):
		why = err.Error() // of decodeArgs
	default:
		why = describe(err)
	}
	return &Error{Code: CodeBadPayload, Message: fmt.Sprintf("%s: %.300s", event, where+why)}
}

// describe returns the place of the mistake, and what it is.
func (e *argumentError) describe() (where, why string) {
	var places []string
	if e.number >= 0 {
		places = append(places, fmt.Sprint("argument ", e.number))
	}
	if t, ok := asType[*json.UnmarshalTypeError](e.err); ok && t.Field != "" {
		places = append(places, fmt.Sprintf("field %q", fieldPath(reflect.TypeOf(e.dst), t.Field)))
	}
	if len(places) > 0 {
		where = strings.Join(places, ", ") + ": "
	}
	return where, describe(e.err)
}

// describe returns what is wrong. An UnmarshalJSON of the application that has something
// to say to clients returns an *Error.
func describe(err error) string {
	if known, ok := asType[*Error](err); ok && known != nil {
		return known.Error()
	}
	if t, ok := asType[*json.UnmarshalTypeError](err); ok && t.Type != nil {
		return "expected " + jsonName(t) + ", got " + article(t.Value)
	}
	for _, own := range []error{ErrMissingArgument, ErrPlaceholder, errNoBinary} {
		if isError(err, own) {
			return own.Error()
		}
	}
	return "invalid value"
}

// isError is errors.Is for an error of user code.
func isError(err, target error) bool {
	is := false
	failed := protect(func() error {
		is = errors.Is(err, target)
		return nil
	})
	return failed == nil && is
}

// jsonName returns the JSON that a Go type is decoded from.
func jsonName(e *json.UnmarshalTypeError) string {
	t := e.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "a string"
	}
	isNumber := strings.HasPrefix(e.Value, "number ") // one that does not fit
	switch k := t.Kind(); k {
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if isNumber {
			return fmt.Sprintf("an integer of %d bits", t.Bits())
		}
		return "a number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if isNumber {
			return fmt.Sprintf("an integer of %d bits that is not negative", t.Bits())
		}
		return "a number"
	case reflect.Float32, reflect.Float64:
		if isNumber {
			return fmt.Sprintf("a number of %d bits", t.Bits())
		}
		return "a number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a string in base64"
		}
		return "an array"
	case reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	default:
		return "another value"
	}
}

// article returns the name that encoding/json has for a value, with its article.
func article(value string) string {
	switch kind, _, _ := strings.Cut(value, " "); kind {
	case "bool":
		return "a boolean"
	case "array", "object":
		return "an " + value
	case "number":
		if kind != value {
			return "the " + value
		}
		return "a number"
	case "string":
		return "a string"
	default:
		return "another value"
	}
}

// fieldPath returns the path of a JSON field without the names of embedded Go structs,
// which encoding/json names in it and the JSON does not contain.
func fieldPath(t reflect.Type, path string) string {
	names := strings.Split(path, ".")
	kept := names[:0]
	for _, name := range names {
		t = structOf(t)
		field, ok := fieldOf(t, name)
		if !ok || !field.Anonymous || field.Tag.Get("json") != "" {
			kept = append(kept, name)
		}
		t = field.Type
	}
	return strings.Join(kept, ".")
}

// structOf returns the struct that pointers, slices and maps of a type lead to.
func structOf(t reflect.Type) reflect.Type {
	for t != nil {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			t = t.Elem()
		default:
			return t
		}
	}
	return nil
}

// fieldOf returns the field of a struct that has the JSON name.
func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	if t == nil || t.Kind() != reflect.Struct {
		return reflect.StructField{}, false
	}
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name || tag == "" && f.Name == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}
