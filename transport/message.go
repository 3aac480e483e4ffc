package transport

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport/frame"
)

// A Message is ready to be sent: encoded once, immutable, to be shared by any
// number of sessions and goroutines.
type Message struct {
	frame []byte                  // a complete WebSocket frame, not masked
	small atomic.Pointer[[]byte]  // the same compressed, once somebody has asked
	text  atomic.Pointer[Message] // the same as text, once somebody has asked
}

// Text returns a message with a copy of data, which must be valid UTF-8: a
// client drops the connection over text that is not.
func Text(data []byte) *Message { return newPacket(frame.Message, data) }

// Binary returns a binary message with a copy of data.
func Binary(data []byte) *Message {
	f := appendHeader(make([]byte, 0, ws.MaxHeaderSize+len(data)), ws.OpBinary, len(data))
	return &Message{frame: append(f, data...)}
}

// Len returns the bytes that the message takes on a WebSocket and of
// Options.QueueBytes: its data and a header of 2 to 11 bytes.
func (m *Message) Len() int { return len(m.frame) }

// packet is the message as a polling payload has it; its data alias the message.
func (m *Message) packet() frame.Packet {
	data := m.data()
	if m.frame[0]&0xf == byte(ws.OpBinary) {
		return frame.Packet{Type: frame.Message, Binary: true, Data: data}
	}
	return frame.Packet{Type: frame.Type(data[0]), Data: data[1:]}
}

// asText is the message as a client gets it that asks for base64: itself if it is text.
// Any client may ask, so it is made once for all.
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

// data are what follows the header.
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

// appendHeader appends the header of an unfragmented server frame. ws.WriteHeader
// does the same, but only to an io.Writer.
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
