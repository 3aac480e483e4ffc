package pgadapter

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"sync"
)

// hashes returns the hash that names the request, and that of its content.
func (k *OnceKey) hashes() (request, content []byte, err error) {
	h := sha256.New()
	for _, part := range [...]struct{ name, text string }{{"Client", k.Client}, {"Event", k.Event}, {"Key", k.Key}} {
		if part.text == "" || len(part.text) > maxOnceName {
			return nil, nil, fmt.Errorf("%w: OnceKey.%s has %d bytes, not 1 to %d", ErrOnceKey, part.name, len(part.text), maxOnceName)
		}
		// The length keeps the parts apart. Writing to a hash never fails.
		_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part.text))))
		_, _ = h.Write([]byte(part.text))
	}
	text, err := encodeJSON(k.Content)
	if err != nil {
		return nil, nil, fmt.Errorf("encode OnceKey.Content: %w", err)
	}
	sum := sha256.Sum256(text)
	return h.Sum(nil), sum[:], nil
}

// A positional is a socketio.Positional: its content is in its arguments.
type positional interface{ Args() []any }

// binarySeal finds the seal in the JSON of a socketio.Binary, which differs between processes. In a
// string its quotes would be escaped.
//
//nolint:gochecknoglobals // a constant
var binarySeal = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`,"\$seal":"[\w-]*"`) })

// encodeJSON returns JSON that is the same in every process.
func encodeJSON(v any) ([]byte, error) {
	if v != nil {
		pointer := reflect.New(reflect.TypeOf(v))
		pointer.Elem().Set(reflect.ValueOf(v))
		if p, ok := reflect.TypeAssert[positional](pointer); ok {
			v = p.Args()
		}
	}
	text, err := json.Marshal(v)
	return binarySeal().ReplaceAllLiteral(text, nil), err
}

// decodeAnswer is the inverse of encodeJSON.
func decodeAnswer[R any](text []byte, answer *R) error {
	p, ok := any(answer).(positional)
	if !ok {
		return json.Unmarshal(text, answer)
	}
	var args []json.RawMessage
	if err := json.Unmarshal(text, &args); err != nil {
		return err
	}
	into := p.Args()
	if len(args) != len(into) {
		return fmt.Errorf("%d arguments, not %d", len(args), len(into))
	}
	for i, arg := range args {
		if err := json.Unmarshal(arg, into[i]); err != nil {
			return err
		}
	}
	return nil
}
