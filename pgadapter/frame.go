package pgadapter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"

	"github.com/pgsocket/socketio/adapter"
)

// The format of a frame is documented in migrations/sql/0001_initial.up.sql, for SQL that
// writes frames.
//
// A program reads all frame versions up to frameVersion. A node writes a version above the
// oldest only while all nodes have registered that they read it; emitters, which have no list
// of the nodes, and SQL write the oldest.
const (
	oldestFrame  = 1
	frameVersion = 1
	withdrawn    = 255 // the kind of a packet that was withdrawn before the batch was sent
	maxPackets   = 4096
	indexBits    = 12 // 1<<indexBits == maxPackets
)

var (
	errFrame = errors.New("malformed frame")
	errNames = errors.New("a namespace or room is longer than 65,535 bytes, or there are more than 65,535 of a kind")
)

// position returns the position of a packet of a batch.
func position(id int64, index int) adapter.Position {
	return adapter.Position(id<<indexBits | int64(index))
}

// batchID returns the id of the batch that a position lies in.
func batchID(p adapter.Position) int64 { return int64(p) >> indexBits }

// checkValue distinguishes the batches that ever had the same position of a log.
func checkValue(log uint32, origin, seq int64) uint32 {
	var b [20]byte
	binary.BigEndian.PutUint32(b[0:], log)
	binary.BigEndian.PutUint64(b[4:], uint64(origin))
	binary.BigEndian.PutUint64(b[12:], uint64(seq))
	h := fnv.New64a()
	_, _ = h.Write(b[:]) // never fails, see hash.Hash
	x := h.Sum64()
	x ^= x >> 32
	return uint32(x) ^ uint32(x>>7) // the low bits of FNV are mixed least
}

// fits reports whether the counts and sizes of e fit the frame format.
func fits(e *adapter.Envelope) bool {
	ok := len(e.Namespace) <= math.MaxUint16 && len(e.Attachments) <= math.MaxUint16
	for _, names := range [...][]string{e.Audience.Rooms, e.Audience.Except} {
		ok = ok && len(names) <= math.MaxUint16
		for _, name := range names {
			ok = ok && len(name) <= math.MaxUint16
		}
	}
	return ok
}

// appendPacket appends e, for which fits must be true, to a frame.
func appendPacket(b []byte, e *adapter.Envelope) []byte {
	b = append(b, byte(e.Kind), 0, 0, 0, 0)
	start := len(b)
	b = appendName(b, e.Namespace)
	b = appendNames(b, e.Audience.Rooms)
	b = appendNames(b, e.Audience.Except)
	b = appendBlob(b, e.Payload)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Attachments)))
	for _, a := range e.Attachments {
		b = appendBlob(b, a)
	}
	if adapter.ValidTraceContext(e.TraceContext) {
		b = appendName(b, e.TraceContext)
	}
	binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start))
	return b
}

// appendWithdrawn appends a placeholder for a withdrawn packet, which keeps the positions
// of the other packets.
func appendWithdrawn(b []byte) []byte { return append(b, withdrawn, 0, 0, 0, 0) }

func appendName(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendNames(b []byte, names []string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(names)))
	for _, s := range names {
		b = appendName(b, s)
	}
	return b
}

func appendBlob(b, blob []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(blob))), blob...)
}

// packetMin is the size of the smallest packet: kind and size of a placeholder.
const packetMin = 5

// decodeFrame returns the packets of a frame, with nil for withdrawn ones. It accepts
// unknown kinds, which a later version may write and the server ignores. The envelopes
// share the memory of the frame.
func decodeFrame(frame []byte, packets int) ([]*adapter.Envelope, error) {
	return decodeFrameUpTo(frameVersion, frame, packets)
}

func decodeFrameUpTo(newest byte, frame []byte, packets int) ([]*adapter.Envelope, error) {
	r := frameReader{rest: frame}
	if v := r.byte(); v < oldestFrame || v > newest || packets < 1 || packets > maxPackets || packets > len(frame)/packetMin {
		return nil, errFrame
	}
	envelopes := make([]*adapter.Envelope, packets)
	store := make([]adapter.Envelope, packets) // one allocation for all packets
	for i := range envelopes {
		kind := r.byte()
		body := frameReader{rest: r.take(r.uint32()), failed: r.failed, address: r.address}
		if kind == withdrawn && len(body.rest) == 0 && !body.failed {
			continue
		}
		if kind == withdrawn {
			return nil, errFrame
		}
		body.packet(&store[i])
		if body.failed || len(body.rest) > 0 {
			return nil, errFrame
		}
		store[i].Kind = adapter.Kind(kind)
		envelopes[i] = &store[i]
		r.address = body.address
	}
	if r.failed || len(r.rest) > 0 {
		return nil, errFrame
	}
	return envelopes, nil
}

// A frameReader reads from a frame. After the first read beyond the end, failed is true
// and every read returns a zero value.
type frameReader struct {
	rest    []byte
	failed  bool
	address address // of the previous packet
}

// An address is the namespace and audience of a packet, decoded and as bytes. A packet with
// the same bytes as the previous one shares its address, which saves memory and allocations.
type address struct {
	bytes     []byte
	namespace string
	audience  adapter.Audience
}

func (r *frameReader) readAddress() address {
	if last := r.address; len(last.bytes) > 0 && bytes.HasPrefix(r.rest, last.bytes) {
		r.rest = r.rest[len(last.bytes):]
		return last
	}
	from := r.rest
	a := address{
		namespace: string(r.take(uint32(r.uint16()))),
		audience:  adapter.Audience{Rooms: r.names(), Except: r.names()},
	}
	a.bytes = from[:len(from)-len(r.rest)]
	return a
}

func (r *frameReader) packet(e *adapter.Envelope) {
	r.address = r.readAddress()
	e.Namespace, e.Audience = r.address.namespace, r.address.audience
	e.Payload = r.take(r.uint32())
	if n := int(r.uint16()); n > 0 && n <= len(r.rest)/4 {
		e.Attachments = make([][]byte, n)
		for i := range e.Attachments {
			e.Attachments[i] = r.take(r.uint32())
		}
	} else if n > 0 {
		r.failed = true
	}
	if len(r.rest) > 0 {
		if text := string(r.take(uint32(r.uint16()))); adapter.ValidTraceContext(text) {
			e.TraceContext = text
		}
	}
}

func (r *frameReader) names() []string {
	n := int(r.uint16())
	if n == 0 {
		return nil
	}
	if n > len(r.rest)/2 {
		r.failed = true
		return nil
	}
	names := make([]string, n)
	for i := range names {
		names[i] = string(r.take(uint32(r.uint16())))
	}
	return names
}

func (r *frameReader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *frameReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *frameReader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *frameReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// countPackets returns the number of packets of a frame, up to the first malformed one.
func countPackets(frame []byte) int {
	r := frameReader{rest: frame}
	r.byte()
	n := 0
	for len(r.rest) > 0 && n <= maxPackets {
		r.byte()
		r.take(r.uint32())
		n++
	}
	return n
}
