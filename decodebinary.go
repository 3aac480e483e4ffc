package socketio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"github.com/pgsocket/socketio/packet"
)

// An inliner decodes arguments with placeholders: it replaces each by the text of its
// attachment that Binary decodes.
type inliner struct {
	attachments [][]byte
	used        []bool // by number; nil at first
}

func (in *inliner) decode(arg json.RawMessage, dst any) error {
	if len(in.attachments) == 0 {
		return json.Unmarshal(arg, dst)
	}
	if data, ok := binaryArg(dst); ok {
		if n, ok := packet.Placeholder(arg); ok && n < len(in.attachments) {
			*data = bytes.Clone(in.attachments[n]) // sockets and the log may share the bytes
			return nil
		}
	}
	if !seesBinary(reflect.TypeOf(dst)) {
		return json.Unmarshal(arg, dst)
	}
	text, err := in.inline(arg)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, dst)
}

// inline returns arg with the attachments in place of their placeholders. The decoder
// of packets has checked that each has one. inline fails if one is used twice, before
// it allocates.
func (in *inliner) inline(arg json.RawMessage) ([]byte, error) {
	type place struct{ start, end, num int }
	var places []place // of placeholders, at most one for each attachment
	size := len(arg)
	for at := 0; ; {
		next := bytes.IndexAny(arg[at:], `{"`)
		if next < 0 {
			break
		}
		at += next
		end := at + tokenEnd(arg[at:])
		if n, ok := packet.Placeholder(arg[at:end]); ok {
			if err := in.use(n); err != nil {
				return nil, err
			}
			places = append(places, place{at, end, n})
			size += Binary(in.attachments[n]).lenJSON() - (end - at)
		} else if arg[at] == '{' {
			end = at + 1 // look for placeholders inside
		}
		at = end
	}
	if len(places) == 0 {
		return arg, nil
	}
	text := make([]byte, 0, size)
	copied := 0
	for _, p := range places {
		text = append(text, arg[copied:p.start]...)
		text = Binary(in.attachments[p.num]).appendJSON(text)
		copied = p.end
	}
	return append(text, arg[copied:]...), nil
}

func (in *inliner) use(n int) error {
	if in.used == nil {
		in.used = make([]bool, len(in.attachments))
	}
	if n >= len(in.used) || in.used[n] {
		return fmt.Errorf("%w: number %d of %d attachments, or a second time", ErrPlaceholder, n, len(in.used))
	}
	in.used[n] = true
	return nil
}

// tokenEnd returns the end of the string, or of the object without inner objects, that
// begins at b[0]; 1 for any other object.
func tokenEnd(b []byte) int {
	if b[0] == '{' {
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '}':
				return i + 1
			case '{':
				return 1
			case '"':
				i += tokenEnd(b[i:]) - 1
			}
		}
		return len(b)
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

//nolint:gochecknoglobals // a cache, as encoding/json has one of its own
var binarySeers sync.Map // of reflect.Type: bool

// seesBinary reports whether a decoded value of the type can distinguish binary data
// from other objects: whether it contains a Binary, a json.Unmarshaler such as
// json.RawMessage, or an interface. For other types nothing needs to be inlined.
func seesBinary(t reflect.Type) bool {
	if known, ok := binarySeers.Load(t); ok {
		return known == true
	}
	sees := holdsBinary(t, make(map[reflect.Type]bool))
	binarySeers.Store(t, sees)
	return sees
}

// holdsBinary searches a type; seen are the types that it has visited already, because
// a type may contain itself.
func holdsBinary(t reflect.Type, seen map[reflect.Type]bool) bool {
	unmarshaler := reflect.TypeFor[json.Unmarshaler]()
	switch {
	case t == nil || t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler):
		return true
	case seen[t]:
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return holdsBinary(t.Elem(), seen)
	case reflect.Struct:
		for field := range t.Fields() {
			if holdsBinary(field.Type, seen) {
				return true
			}
		}
	default:
	}
	return false
}
