package packet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Reserved reports whether the name is reserved by the Socket.IO libraries. No event
// may have it, in either direction.
func Reserved(name string) bool {
	for _, r := range reserved() {
		if name == r {
			return true
		}
	}
	return false
}

func reservedLiteral(literal []byte) bool {
	for _, r := range reserved() {
		if literalIs(literal, r) {
			return true
		}
	}
	return false
}

func reserved() [6]string {
	return [...]string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
}

// EventName returns the name of an event from its first argument, as returned by
// [SplitArgs]. For a number, valid since Socket.IO 3.1.0, the name is its text: 1 and
// "1" are the same event for JavaScript listeners, too. It does not fail for the events
// of a [Decoder].
func EventName(first json.RawMessage) (string, error) {
	switch c := byteAt(first, 0); {
	case c == '-' || '0' <= c && c <= '9':
		return string(first), nil
	case c != '"':
		return "", fmt.Errorf("%w: an event begins with its name, a string or a number", ErrBody)
	}
	if len(first) > 1 && first[len(first)-1] == '"' && bytes.IndexByte(first, '\\') < 0 {
		return string(first[1 : len(first)-1]), nil
	}
	var name string
	if err := json.Unmarshal(first, &name); err != nil {
		return "", fmt.Errorf("%w: event name: %w", ErrJSON, err)
	}
	return name, nil
}

// SplitArgs appends to dst the elements of a JSON array, none of them
// unmarshaled, and returns the extended slice.
//
//   - The elements alias data, without the white space around them. Appending to
//     an element does not write to data.
//   - data comes from a packet of a [Decoder]. For other data it may return
//     elements that are not JSON, but it does not panic.
//   - An element takes a slice header, 24 bytes for as few as 2 bytes of data.
func SplitArgs(data []byte, dst []json.RawMessage) ([]json.RawMessage, error) {
	data = trimSpace(data)
	if len(data) < 2 || data[0] != '[' || data[len(data)-1] != ']' {
		return dst, fmt.Errorf("%w: the arguments are not an array", ErrJSON)
	}
	rest := data[1 : len(data)-1]
	if len(trimSpace(rest)) == 0 {
		return dst, nil
	}
	args := dst
	for {
		end := elementEnd(rest)
		element := trimSpace(rest[:end])
		if len(element) == 0 {
			return dst, fmt.Errorf("%w: argument %d is empty", ErrJSON, len(args)-len(dst))
		}
		args = append(args, slices.Clip(element))
		if end == len(rest) {
			return args, nil
		}
		rest = rest[end+1:]
	}
}

// elementEnd returns the index of the first comma outside strings and brackets,
// or len(b).
func elementEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = stringEnd(b, i) - 1
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}
