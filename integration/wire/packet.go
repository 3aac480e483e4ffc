package wire

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// The Socket.IO packet types that a client meets.
const (
	connect      = '0'
	disconnect   = '1'
	event        = '2'
	ack          = '3'
	connectError = '4'
	binaryEvent  = '5'
	binaryAck    = '6'
)

// A message is a Socket.IO packet from the server, taken apart.
type message struct {
	kind        byte
	attachments int
	namespace   string
	id          string // of an ack
	data        json.RawMessage
}

var errPacket = errors.New("malformed packet from the server")

// parse is written from the protocol's text rather than with package packet, which is under test here.
func parse(text string) (*message, error) {
	if text == "" {
		return nil, errPacket
	}
	m := &message{kind: text[0], namespace: "/"}
	text = text[1:]
	if m.kind == binaryEvent || m.kind == binaryAck {
		count, rest, ok := strings.Cut(text, "-")
		n, err := strconv.Atoi(count)
		if !ok || err != nil {
			return nil, errPacket
		}
		m.attachments, text = n, rest
	}
	if strings.HasPrefix(text, "/") {
		m.namespace, text, _ = strings.Cut(text, ",")
	}
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	m.id, text = text[:digits], text[digits:]
	if text != "" {
		m.data = json.RawMessage(text)
	}
	return m, nil
}

// offsetOf returns what the official client takes for its offset: the last argument, if that is a string. It looks
// only at the end of the array, because thousands of clients share a processor here.
func offsetOf(data json.RawMessage) (string, bool) {
	end := len(data) - 2 // before the bracket
	if end < 1 || data[end] != '"' {
		return "", false
	}
	for start := end - 1; start > 0; start-- {
		switch data[start] {
		case '\\':
			return slowOffset(data)
		case '"':
			if data[start-1] == '\\' {
				return slowOffset(data)
			}
			return string(data[start+1 : end]), true
		}
	}
	return "", false
}

func slowOffset(data json.RawMessage) (string, bool) {
	var args []json.RawMessage
	var s string
	if json.Unmarshal(data, &args) != nil || len(args) == 0 || json.Unmarshal(args[len(args)-1], &s) != nil {
		return "", false
	}
	return s, true
}
