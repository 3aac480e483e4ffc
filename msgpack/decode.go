package msgpack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/pgsocket/socketio/packet"
)

// The errors of the decoder, in addition to those of package packet.
var (
	// ErrText reports a text message. Every message must be binary.
	ErrText = errors.New("text instead of MessagePack")

	// ErrPacket reports a message that is not MessagePack, or not a packet.
	ErrPacket = errors.New("not a packet in MessagePack")
)

// The extension type of the official parser.
const extOfficial = 0

// decoder converts a message to the text form of the packet, which package packet then
// decodes and checks.
type decoder struct {
	packets packet.Decoder
	limits  packet.Limits
}

// Decode implements packet.MessageDecoder. It never returns nil without an error,
// because every message is a packet.
func (d *decoder) Decode(data []byte, binary bool) (*packet.Packet, error) {
	if !binary {
		return nil, ErrText
	}
	r := reader{rest: data, limits: d.limits}
	text, err := r.packet()
	if err != nil {
		return nil, fmt.Errorf("%w, at byte %d", err, len(data)-len(r.rest))
	}
	p, err := d.packets.Text(text)
	for _, a := range r.attachments {
		if err != nil {
			return nil, err
		}
		p, err = d.packets.Binary(a)
	}
	return p, err
}

// reader reads one message. It produces JSON with placeholders for binary data, which
// aliases the message.
type reader struct {
	rest        []byte
	limits      packet.Limits
	attachments [][]byte
}

func refused(detail string, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrPacket, detail, err)
	}
	return fmt.Errorf("%w: %s", ErrPacket, detail)
}

// fields are the members of the map that represents a packet.
type fields struct {
	kind  int64
	nsp   string
	id    uint64
	hasID bool
	data  []byte // JSON; nil if there is none
}

// packet returns the packet in its text form.
func (r *reader) packet() ([]byte, error) {
	f := fields{kind: -1}
	n, rest, err := msgp.ReadMapHeaderBytes(r.rest)
	if err != nil {
		return nil, refused("map", err)
	}
	r.rest = rest
	for range n { // each round reads a byte at least, or fails
		if err := r.field(&f); err != nil {
			return nil, err
		}
	}
	switch {
	case len(r.rest) > 0:
		return nil, refused("something follows", nil)
	case f.kind < 0 || f.kind > int64(packet.ConnectError):
		return nil, fmt.Errorf("%w: %d", packet.ErrType, f.kind)
	case !strings.HasPrefix(f.nsp, "/") || strings.Contains(f.nsp, ","):
		return nil, refused("namespace", nil)
	}
	return r.text(&f)
}

// fits checks whether a packet may have the data, as the official MessagePack parser
// does. Package packet cannot check it: in the text form a number in place of the data is
// an id, and an event may have no data.
func fits(kind packet.Type, data []byte) bool {
	var first byte
	if len(data) > 0 {
		first = data[0]
	}
	switch kind {
	case packet.Connect:
		return first == 0 || first == '{'
	case packet.Disconnect:
		return first == 0
	case packet.ConnectError:
		return first == '{' || first == '"'
	default:
		return first == '['
	}
}

func (r *reader) text(f *fields) ([]byte, error) {
	kind := packet.Type(f.kind)
	if !fits(kind, f.data) {
		return nil, fmt.Errorf("%w: the data of a %s", packet.ErrBody, kind)
	}
	text := make([]byte, 0, len(f.data)+len(f.nsp)+24)
	if len(r.attachments) > 0 {
		switch kind {
		case packet.Event:
			kind = packet.BinaryEvent
		case packet.Ack:
			kind = packet.BinaryAck
		default:
			return nil, refused(kind.String()+" with binary data", nil)
		}
	}
	text = append(text, '0'+byte(kind))
	if len(r.attachments) > 0 {
		text = append(strconv.AppendInt(text, int64(len(r.attachments)), 10), '-')
	}
	if f.nsp != "/" {
		text = append(append(text, f.nsp...), ',')
	}
	if f.hasID {
		text = strconv.AppendUint(text, f.id, 10)
	}
	return append(text, f.data...), nil
}

func (r *reader) field(f *fields) error {
	key, rest, err := msgp.ReadStringBytes(r.rest)
	if err != nil {
		return refused("key", err)
	}
	r.rest = rest
	switch key {
	case "type":
		f.kind, r.rest, err = msgp.ReadInt64Bytes(r.rest)
	case "nsp":
		f.nsp, r.rest, err = msgp.ReadStringBytes(r.rest)
	case "id":
		if r.undefined() {
			return nil
		}
		f.hasID = true
		f.id, r.rest, err = msgp.ReadUint64Bytes(r.rest)
	case "data":
		if r.undefined() {
			return nil
		}
		if f.data == nil {
			f.data = make([]byte, 0, len(r.rest))
		}
		f.data, err = r.value(f.data[:0], 0) // the last of several is used
		return err
	default: // such as options, which only the client uses
		held := len(r.attachments)
		_, err = r.value(nil, 0)
		r.attachments = r.attachments[:held]
		return err
	}
	if err != nil {
		return refused(key, err)
	}
	return nil
}

// undefined reads JavaScript's undefined, if it is next.
func (r *reader) undefined() bool {
	if len(r.rest) < 3 || r.rest[0] != codeFixExt1 || r.rest[1] != extOfficial {
		return false
	}
	r.rest = r.rest[3:]
	return true
}

// value appends the next value as JSON, which may be several times as long as in the
// message.
func (r *reader) value(dst []byte, depth int) (out []byte, err error) {
	out, err = r.unlimited(dst, depth)
	if most := r.limits.MaxPacketBytes; err == nil && len(out) > most {
		return dst, fmt.Errorf("%w: more than %d bytes of JSON", packet.ErrLimit, most)
	}
	return out, err
}

func (r *reader) unlimited(dst []byte, depth int) ([]byte, error) {
	switch kind := msgp.NextType(r.rest); kind {
	case msgp.ArrayType:
		return r.array(dst, depth+1)
	case msgp.MapType:
		return r.object(dst, depth+1)
	case msgp.BinType:
		data, rest, err := msgp.ReadBytesZC(r.rest)
		r.rest = rest
		return r.attach(dst, data, err)
	case msgp.ExtensionType, msgp.TimeType, msgp.Complex64Type, msgp.Complex128Type, msgp.DurationType:
		return r.extension(dst)
	default:
		return r.scalar(dst, kind)
	}
}

func (r *reader) scalar(dst []byte, kind msgp.Type) (out []byte, err error) {
	switch kind {
	case msgp.StrType:
		var s []byte
		s, r.rest, err = msgp.ReadStringZC(r.rest)
		out = appendString(dst, s)
	case msgp.IntType:
		var n int64
		n, r.rest, err = msgp.ReadInt64Bytes(r.rest)
		out = strconv.AppendInt(dst, n, 10)
	case msgp.UintType:
		var n uint64
		n, r.rest, err = msgp.ReadUint64Bytes(r.rest)
		out = strconv.AppendUint(dst, n, 10)
	case msgp.Float64Type, msgp.Float32Type:
		var f float64
		f, r.rest, err = msgp.ReadFloat64Bytes(r.rest)
		out = appendFloat(dst, f)
	case msgp.BoolType:
		var b bool
		b, r.rest, err = msgp.ReadBoolBytes(r.rest)
		out = strconv.AppendBool(dst, b)
	case msgp.NilType:
		r.rest, err = msgp.ReadNilBytes(r.rest)
		out = append(dst, "null"...)
	default:
		return dst, refused("value", nil)
	}
	if err != nil {
		return dst, refused(kind.String(), err)
	}
	return out, nil
}

func (r *reader) array(dst []byte, depth int) ([]byte, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(r.rest)
	switch {
	case err != nil:
		return dst, refused("array", err)
	case depth > r.limits.MaxDepth:
		return dst, errDepth
	}
	r.rest = rest
	dst = append(dst, '[')
	for i := range n { // each round reads a byte at least, or fails
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = r.value(dst, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (r *reader) object(dst []byte, depth int) ([]byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(r.rest)
	switch {
	case err != nil:
		return dst, refused("map", err)
	case depth > r.limits.MaxDepth:
		return dst, errDepth
	}
	r.rest = rest
	dst = append(dst, '{')
	first := true
	for range n { // each round reads a byte at least, or fails
		key, rest, err := msgp.ReadStringZC(r.rest)
		if err != nil {
			return dst, refused("key", err)
		}
		r.rest = rest
		if r.undefined() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendString(dst, key), ':')
		if dst, err = r.value(dst, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (r *reader) attach(dst, data []byte, err error) ([]byte, error) {
	if err != nil {
		return dst, refused("binary data", err)
	}
	if most := r.limits.MaxAttachments; len(r.attachments) >= most {
		return dst, fmt.Errorf("%w: more than %d attachments", packet.ErrLimit, most)
	}
	dst = packet.AppendPlaceholder(dst, len(r.attachments))
	r.attachments = append(r.attachments, data)
	return dst, nil
}

// extension appends a value for which the official parser has an extension: undefined,
// a Date or an ArrayBuffer.
func (r *reader) extension(dst []byte) ([]byte, error) {
	if r.undefined() {
		return append(dst, "null"...), nil
	}
	head, size := extensionHead(r.rest)
	if head == 0 || len(r.rest)-head < size {
		return dst, refused("extension", nil)
	}
	code, kind, data := r.rest[0], r.rest[head-1], r.rest[head:head+size]
	r.rest = r.rest[head+size:]
	switch {
	case kind == extOfficial && code == codeFixExt8:
		return appendDate(dst, data)
	case kind == extOfficial && code <= codeExt32:
		return r.attach(dst, data, nil)
	}
	return dst, refused(fmt.Sprintf("extension of type %d and %d bytes", kind, size), nil)
}

// The codes of extensions: of any length, or of one of five lengths.
const (
	codeExt8     = 0xc7
	codeExt16    = 0xc8
	codeExt32    = 0xc9
	codeFixExt1  = 0xd4
	codeFixExt8  = 0xd7
	codeFixExt16 = 0xd8
)

// extensionHead returns the length of an extension's head, whose last byte is the
// type, and the length of its data; 0 if the head is incomplete.
func extensionHead(b []byte) (head, size int) {
	switch code := b[0]; {
	case code == codeExt8 && len(b) > 2:
		return 3, int(b[1])
	case code == codeExt16 && len(b) > 3:
		return 4, int(binary.BigEndian.Uint16(b[1:]))
	case code == codeExt32 && len(b) > 5:
		return 6, int(binary.BigEndian.Uint32(b[1:]))
	case code >= codeFixExt1 && code <= codeFixExt16 && len(b) > 1:
		return 2, 1 << (code - codeFixExt1)
	}
	return 0, 0
}

// maxDate is the greatest distance of a Date from 1970, in milliseconds.
const maxDate = 8_640_000_000_000_000

// appendDate appends a Date as JSON.
func appendDate(dst, data []byte) ([]byte, error) {
	ms := int64(binary.BigEndian.Uint64(data)) //nolint:gosec // the value is signed
	if ms < -maxDate || ms > maxDate {
		return dst, refused("date", nil)
	}
	at := time.UnixMilli(ms).UTC()
	dst = append(dst, '"')
	if year := at.Year(); year < 0 || year > 9999 {
		dst = fmt.Appendf(dst, "%+07d", year)
	} else {
		dst = fmt.Appendf(dst, "%04d", year)
	}
	return at.AppendFormat(dst, `-01-02T15:04:05.000Z"`), nil
}

func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendString appends a string as JSON. UTF-8 is checked later.
func appendString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
