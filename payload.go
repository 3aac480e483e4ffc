package socketio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/pgsocket/socketio/packet"
)

// Binary is binary data inside of a JSON payload, at any depth: it travels as an
// attachment, not as text. A []byte that is an argument of its own does so
// without this type; anywhere else encoding/json makes base64 text of a []byte.
//
// Outside of packets, as in a [Data], it is the object {"$binary":"base64"}. A
// field without a type, such as a map[string]any, gets it in that form too.
type Binary []byte

// binaryStart is how that object begins. No string can hold these bytes: inside
// of JSON its quotes are escaped.
const binaryStart = `{"$binary":"`

// MarshalJSON implements json.Marshaler.
func (b Binary) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, len(binaryStart)+base64.StdEncoding.EncodedLen(len(b))+2)
	out = append(out, binaryStart...)
	out = base64.StdEncoding.AppendEncode(out, b)
	return append(out, `"}`...), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Binary) UnmarshalJSON(text []byte) error {
	data, rest, ok := cutBinary(text)
	if !ok || len(rest) > 0 {
		return fmt.Errorf("binary data expected, got %.20s", text)
	}
	*b = data
	return nil
}

// cutBinary returns the data of the Binary that text begins with, and the rest.
func cutBinary(text []byte) (data Binary, rest []byte, ok bool) {
	text, ok = bytes.CutPrefix(text, []byte(binaryStart))
	encoded, rest, closed := bytes.Cut(text, []byte(`"}`))
	if !ok || !closed {
		return nil, nil, false
	}
	data, err := base64.StdEncoding.DecodeString(string(encoded))
	return data, rest, err == nil
}

// A payload is the body of an event or acknowledgement: a JSON array and the
// binary data that its placeholders refer to.
type payload struct {
	json        []byte
	attachments [][]byte
}

// maxEmitAttachments is what a current client accepts in one packet.
const maxEmitAttachments = 10

// encodeArgs encodes the arguments of an event, or of an acknowledgement if the
// event is "".
func encodeArgs(event string, args []any) (payload, error) {
	var p payload
	p.json = append(p.json, '[')
	if event != "" {
		name, err := json.Marshal(event)
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
	return p, nil
}

func (p *payload) append(arg any) error {
	switch data := arg.(type) {
	case []byte:
		p.attach(data)
		return nil
	case *[]byte:
		p.attach(*data)
		return nil
	}
	text, err := json.Marshal(arg)
	if err != nil {
		return err
	}
	for {
		at := bytes.Index(text, []byte(binaryStart))
		if at < 0 {
			break
		}
		p.json = append(p.json, text[:at]...)
		data, rest, ok := cutBinary(text[at:])
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

func (p *payload) attach(data []byte) {
	p.json = packet.AppendPlaceholder(p.json, len(p.attachments))
	// The payload outlives the call: it waits in the log's queue.
	p.attachments = append(p.attachments, bytes.Clone(data))
}

// decodeArgs decodes args into the pointers in dst.
func decodeArgs(args []json.RawMessage, attachments [][]byte, dst []any) error {
	if len(args) < len(dst) {
		return fmt.Errorf("%d arguments expected, got %d", len(dst), len(args))
	}
	for i, d := range dst {
		if err := decodeArg(args[i], attachments, d); err != nil {
			return fmt.Errorf("argument %d: %w", i, err)
		}
	}
	return nil
}

func decodeArg(arg json.RawMessage, attachments [][]byte, dst any) error {
	if len(attachments) == 0 {
		return json.Unmarshal(arg, dst)
	}
	if data, ok := dst.(*[]byte); ok {
		if n, ok := packet.Placeholder(arg); ok && n < len(attachments) {
			*data = attachments[n]
			return nil
		}
	}
	return json.Unmarshal(inline(arg, attachments), dst)
}

// inline replaces the placeholders in arg by the text that Binary decodes.
func inline(arg json.RawMessage, attachments [][]byte) []byte {
	var out []byte
	for len(arg) > 0 {
		start := bytes.IndexAny(arg, `{"`)
		if start < 0 {
			break
		}
		out, arg = append(out, arg[:start]...), arg[start:]
		end := tokenEnd(arg)
		if n, ok := packet.Placeholder(arg[:end]); ok && n < len(attachments) {
			text, _ := Binary(attachments[n]).MarshalJSON() // never fails
			out, arg = append(out, text...), arg[end:]
			continue
		}
		if arg[0] == '{' {
			end = 1 // look for placeholders inside
		}
		out, arg = append(out, arg[:end]...), arg[end:]
	}
	return append(out, arg...)
}

// tokenEnd returns the end of the string that begins at b[0], or of the object
// without inner objects that does; 1 for any other object.
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
