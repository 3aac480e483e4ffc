package transport

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport/frame"
)

// A Message is an encoded message. It is immutable, and may be shared by any number
// of sessions and goroutines.
type Message struct {
	frame []byte                  // a complete WebSocket frame, not masked
	small atomic.Pointer[[]byte]  // the compressed frame, made at the first use
	text  atomic.Pointer[Message] // the message as text, made at the first use
}

// Text returns a text message with a copy of data, which must be valid UTF-8:
// otherwise the client closes the connection.
func Text(data []byte) *Message { return newPacket(frame.Message, data) }

// Binary returns a binary message with a copy of data.
func Binary(data []byte) *Message {
	f := appendHeader(make([]byte, 0, ws.MaxHeaderSize+len(data)), ws.OpBinary, len(data))
	return &Message{frame: append(f, data...)}
}

// Len returns the bytes that the message takes on a WebSocket and of
// Options.QueueBytes: its data and a header of 2 to 11 bytes.
func (m *Message) Len() int { return len(m.frame) }

// packet returns the packet for a polling payload; its data alias the message.
func (m *Message) packet() frame.Packet {
	data := m.data()
	if m.frame[0]&0xf == byte(ws.OpBinary) {
		return frame.Packet{Type: frame.Message, Binary: true, Data: data}
	}
	return frame.Packet{Type: frame.Type(data[0]), Data: data[1:]}
}

// asText returns the message for a client that asks for base64: itself if it is text.
// It is encoded once for all such clients.
func (m *Message) asText() *Message {
	if m.frame[0]&0xf != byte(ws.OpBinary) {
		return m
	}
	if made := m.text.Load(); made != nil {
		return made
	}
	text := frame.AppendBase64(nil, m.data())
	f := appendHeader(make([]byte, 0, ws.MaxHeaderSize+len(text)), ws.OpText, len(text))
	m.text.CompareAndSwap(nil, &Message{frame: append(f, text...)})
	return m.text.Load()
}

// data returns the payload of the frame.
func (m *Message) data() []byte {
	switch m.frame[1] {
	case 126:
		return m.frame[ws.MinHeaderSize+2:]
	case 127:
		return m.frame[ws.MinHeaderSize+8:]
	default:
		return m.frame[ws.MinHeaderSize:]
	}
}

func newPacket(t frame.Type, data []byte) *Message {
	f := appendHeader(make([]byte, 0, ws.MaxHeaderSize+1+len(data)), ws.OpText, 1+len(data))
	return &Message{frame: frame.Append(f, t, data)}
}

func newControl(op ws.OpCode, payload []byte) *Message {
	f := appendHeader(make([]byte, 0, ws.MinHeaderSize+len(payload)), op, len(payload))
	return &Message{frame: append(f, payload...)}
}

func newClose(code ws.StatusCode) *Message {
	if code == 0 {
		return newControl(ws.OpClose, nil)
	}
	return newControl(ws.OpClose, ws.NewCloseFrameBody(code, ""))
}

// appendHeader appends the header of an unfragmented server frame. (ws.WriteHeader
// requires an io.Writer.)
func appendHeader(dst []byte, op ws.OpCode, length int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case length < 126:
		return append(dst, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(length))
	}
}
