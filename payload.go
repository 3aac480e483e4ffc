package socketio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/pgsocket/socketio/packet"
)

// Binary is binary data inside a JSON payload, at any depth: it is sent as an
// attachment, not as text. A []byte that is an argument by itself does not need this
// type; anywhere else encoding/json encodes a []byte as base64 text.
//
// Outside packets, as in a [Data], it is an object with the member $binary, in base64,
// and the member $seal, by which this process recognizes it. A json.RawMessage or an
// untyped value, such as a map[string]any, contains it in that form too, and is sent
// with an attachment again if this process emits it. Without the seal, or in another
// process, such an object is ordinary data: decode it into a Binary there.
type Binary []byte

// binaryStart is the beginning of that object. No string can contain these bytes: inside
// JSON its quotes are escaped.
const binaryStart = `{"$binary":"`

// MarshalJSON implements json.Marshaler.
func (b Binary) MarshalJSON() ([]byte, error) {
	return b.appendJSON(make([]byte, 0, b.lenJSON())), nil
}

func (b Binary) appendJSON(dst []byte) []byte {
	dst = append(dst, binaryStart...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	dst = append(dst, sealStart...)
	return append(appendSeal(dst, b), `"}`...)
}

func (b Binary) lenJSON() int {
	return len(binaryStart) + base64.StdEncoding.EncodedLen(len(b)) +
		len(sealStart) + base64.RawURLEncoding.EncodedLen(sealBytes) + len(`"}`)
}

// errNoBinary reports JSON that is no binary data.
var errNoBinary = errors.New("expected binary data")

// UnmarshalJSON implements json.Unmarshaler. It takes the object with a seal or
// without.
func (b *Binary) UnmarshalJSON(text []byte) error {
	data, rest, ok := cutBinary(text)
	if !ok || len(rest) > 0 {
		return fmt.Errorf("%w, got %.20s", errNoBinary, text)
	}
	*b = data
	return nil
}

// cutBinary returns the data of the Binary that text begins with, sealed or not,
// and the rest.
func cutBinary(text []byte) (data Binary, rest []byte, ok bool) {
	text, ok = bytes.CutPrefix(text, []byte(binaryStart))
	end := bytes.IndexByte(text, '"')
	if !ok || end < 0 {
		return nil, nil, false
	}
	encoded, rest := text[:end], text[end:]
	if seal, sealed := bytes.CutPrefix(rest, []byte(sealStart)); sealed {
		rest = seal[max(bytes.IndexByte(seal, '"'), 0):]
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`"}`))
	if !ok {
		return nil, nil, false
	}
	data, err := base64.StdEncoding.AppendDecode(nil, encoded)
	return data, rest, err == nil
}

// A payload is the body of an event or acknowledgement: a JSON array and the
// binary data that its placeholders refer to.
type payload struct {
	json        []byte
	attachments [][]byte
}

// maxEmitAttachments is the limit of current clients for one packet.
const maxEmitAttachments = 10

// encodeArgs encodes the arguments of an event, or of an acknowledgement if the
// event is "".
func encodeArgs(event string, args []any) (payload, error) {
	var p payload
	p.json = append(p.json, '[')
	if event != "" {
		name, err := marshalJSON(event)
		if err != nil {
			return p, err
		}
		p.json = append(p.json, name...)
	}
	for i, arg := range args {
		if len(p.json) > 1 {
			p.json = append(p.json, ',')
		}
		if err := p.append(arg); err != nil {
			return p, fmt.Errorf("argument %d of %q: %w", i, event, err)
		}
	}
	p.json = append(p.json, ']')
	if n := len(p.attachments); n > maxEmitAttachments {
		return p, fmt.Errorf("%d binary attachments in %q: official clients accept at most %d", n, event, maxEmitAttachments)
	}
	if err := packet.CheckPlaceholders(p.json, len(p.attachments)); err != nil {
		return p, fmt.Errorf("%q: data that clients would take for binary data, beside an attachment: %w", event, err)
	}
	return p, nil
}

func (p *payload) append(arg any) error {
	if data, ok := binaryArg(arg); ok {
		p.attach(*data)
		return nil
	}
	text, err := marshalJSON(arg)
	if err != nil {
		return err
	}
	for {
		at := bytes.Index(text, []byte(binaryStart))
		if at < 0 {
			break
		}
		p.json = append(p.json, text[:at]...)
		data, rest, ok := cutSealed(text[at:])
		if ok {
			p.attach(data)
		} else {
			p.json = append(p.json, text[at]) // the brace of another object
			rest = text[at+1:]
		}
		text = rest
	}
	p.json = append(p.json, text...)
	return nil
}

// binaryArg returns the binary data of an argument, or its destination, if the argument
// is nothing else.
func binaryArg(arg any) (data *[]byte, ok bool) {
	switch arg := arg.(type) {
	case []byte:
		return &arg, true
	case Binary:
		return (*[]byte)(&arg), true
	case *[]byte:
		return arg, arg != nil
	case *Binary:
		return (*[]byte)(arg), arg != nil
	default:
		return nil, false
	}
}

func (p *payload) attach(data []byte) {
	p.json = packet.AppendPlaceholder(p.json, len(p.attachments))
	// The payload outlives the call: it waits in the log's queue.
	p.attachments = append(p.attachments, bytes.Clone(data))
}

// decodeArgs decodes args into the pointers in dst. It inlines each attachment at most
// once, so its allocations are bounded by the size of the packet, from any source.
func decodeArgs(args []json.RawMessage, attachments [][]byte, dst []any) error {
	in := inliner{attachments: attachments}
	for i, d := range dst {
		if i >= len(args) {
			if !setNil(d) {
				return fmt.Errorf("%w: %d expected, got %d", ErrMissingArgument, len(dst), len(args))
			}
			continue
		}
		if err := in.decode(args[i], d); err != nil {
			return &argumentError{i, d, err}
		}
	}
	return nil
}

// setNil sets *dst to nil if that is a pointer or an interface, and reports whether
// it is.
func setNil(dst any) bool {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return false
	}
	v = v.Elem()
	if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
		return false
	}
	v.SetZero()
	return true
}
