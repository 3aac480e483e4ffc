package msgpack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/tinylib/msgp/msgp"

	"github.com/pgsocket/socketio/packet"
)

// maxDepth is the limit of nesting, the same as in encoding/json.
const maxDepth = 10_000

var errDepth = fmt.Errorf("%w: nested too deep", packet.ErrLimit)

// Encode implements packet.Parser.
func (Parser) Encode(p *packet.Packet) ([]packet.Message, error) {
	fields := uint32(2)
	if p.HasID {
		fields++
	}
	if len(p.Data) > 0 {
		fields++
	}
	out := make([]byte, 0, len(p.Data)+len(p.Namespace)+32)
	out = msgp.AppendMapHeader(out, fields)
	out = msgp.AppendInt(msgp.AppendString(out, "type"), int(plain(p.Type)))
	out = msgp.AppendString(msgp.AppendString(out, "nsp"), p.Namespace)
	if p.HasID {
		out = msgp.AppendUint64(msgp.AppendString(out, "id"), p.ID)
	}
	if err := packet.CheckPlaceholders(p.Data, len(p.Attachments)); err != nil {
		return nil, err
	}
	if len(p.Data) > 0 {
		e := encoder{json: json.NewDecoder(bytes.NewReader(p.Data)), text: p.Data, attachments: p.Attachments}
		e.json.UseNumber()
		var err error
		if out, err = e.value(msgp.AppendString(out, "data"), 0); err != nil {
			return nil, fmt.Errorf("%s as MessagePack: %w", p.Type, err)
		}
	}
	return []packet.Message{{Data: out, Binary: true}}, nil
}

// plain returns the type in MessagePack, which has no types for binary packets.
func plain(t packet.Type) packet.Type {
	switch t {
	case packet.BinaryEvent:
		return packet.Event
	case packet.BinaryAck:
		return packet.Ack
	default:
		return t
	}
}

// encoder converts JSON with placeholders to MessagePack.
type encoder struct {
	json        *json.Decoder
	text        []byte
	attachments [][]byte
}

func (e *encoder) value(dst []byte, depth int) ([]byte, error) {
	token, err := e.json.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return dst, err
	}
	switch v := token.(type) {
	case json.Delim:
		if depth++; depth > maxDepth {
			return dst, errDepth
		}
		if v == '[' {
			return e.array(dst, depth)
		}
		if data, ok := e.attachment(); ok {
			return msgp.AppendBytes(dst, data), e.skipObject()
		}
		return e.object(dst, depth)
	case json.Number:
		return appendNumber(dst, v.String())
	case string:
		return msgp.AppendString(dst, v), nil
	case bool:
		return msgp.AppendBool(dst, v), nil
	default:
		return msgp.AppendNil(dst), nil
	}
}

// array encodes the elements after the opening bracket.
func (e *encoder) array(dst []byte, depth int) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 0) // for the header
	count := uint32(0)
	for ; e.json.More(); count++ {
		var err error
		if dst, err = e.value(dst, depth); err != nil {
			return dst, err
		}
	}
	_, err := e.json.Token() // the closing bracket
	return setHeader(dst, start, msgp.AppendArrayHeader(nil, count)), err
}

func (e *encoder) object(dst []byte, depth int) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 0) // for the header
	count := uint32(0)
	for ; e.json.More(); count++ {
		var err error
		if dst, err = e.value(dst, depth); err != nil { // the key
			return dst, err
		}
		if dst, err = e.value(dst, depth); err != nil {
			return dst, err
		}
	}
	_, err := e.json.Token() // the closing brace
	return setHeader(dst, start, msgp.AppendMapHeader(nil, count)), err
}

// setHeader replaces the byte that was reserved for a header by the header, which has
// the number of elements. The header of up to 15 elements is one byte.
func setHeader(dst []byte, at int, header []byte) []byte {
	return slices.Replace(dst, at, at+1, header...)
}

// attachment returns the attachment of the object whose opening brace was read, if the
// object is a placeholder.
func (e *encoder) attachment() ([]byte, bool) {
	if len(e.attachments) == 0 {
		return nil, false
	}
	object := e.text[e.json.InputOffset()-1:]
	end := bytes.IndexByte(object, '}') // a placeholder contains no other brace
	if n, ok := packet.Placeholder(object[:end+1]); ok && n < len(e.attachments) {
		return e.attachments[n], true
	}
	return nil, false
}

// skipObject skips the placeholder whose opening brace was read.
func (e *encoder) skipObject() error {
	for e.json.More() {
		if _, err := e.json.Token(); err != nil {
			return err
		}
	}
	_, err := e.json.Token()
	return err
}

func appendNumber(dst []byte, text string) ([]byte, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return msgp.AppendInt64(dst, n), nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return msgp.AppendUint64(dst, n), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) { // JavaScript also converts too large a number to Infinity
		return dst, err
	}
	return msgp.AppendFloat64(dst, f), nil
}
