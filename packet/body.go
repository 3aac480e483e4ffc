package packet

import (
	"encoding/json"
	"errors"
	"fmt"
)

// body checks the part after the header and returns it without trailing white space.
// Leading white space is part of the header: JavaScript reads it as an id.
func (r *reader) body(h header) ([]byte, error) {
	body := r.rest()
	if detail := misfit(h, body); detail != "" {
		return nil, r.fail(ErrBody, detail)
	}
	if len(body) == 0 {
		return nil, nil
	}
	if nestsDeeper(body, r.limits.MaxDepth) {
		return nil, r.fail(ErrLimit, fmt.Sprintf("JSON nests deeper than %d", r.limits.MaxDepth))
	}
	if most := r.limits.MaxArguments; body[0] == '[' && len(body) > 2*most && hasMoreElements(body, most) {
		return nil, r.fail(ErrLimit, fmt.Sprintf("more than %d arguments", most))
	}
	if err := r.checkJSON(body); err != nil {
		return nil, err
	}
	body = trimSpace(body)
	if h.kind.named() {
		if err := r.checkName(body); err != nil {
			return nil, err
		}
	}
	if h.kind.binary() {
		if at, detail := misplaced(body, h.attachments); detail != "" {
			r.at += at
			return nil, r.fail(ErrPlaceholder, detail)
		}
	}
	return body, nil
}

// misfit returns why the packet cannot have a body that begins like this, or "" if it
// can. The first character determines the kind of valid JSON.
func misfit(h header, body []byte) string {
	first := byteAt(body, 0)
	switch h.kind {
	case Connect:
		if len(body) > 0 && first != '{' {
			return "a CONNECT carries an object or nothing"
		}
	case Disconnect:
		if len(body) > 0 {
			return "a DISCONNECT carries nothing"
		}
	case ConnectError:
		if len(body) > 0 && first != '{' && first != '"' {
			return "a CONNECT_ERROR carries an object or a string"
		}
	case Event, Ack, BinaryEvent, BinaryAck:
		if len(body) > 0 && first != '[' {
			return "events and acks carry an array"
		}
	}
	return ""
}

// checkName checks the first item of the arguments of an event.
func (r *reader) checkName(body []byte) error {
	start := skipSpace(body, 1)
	switch c := body[start]; {
	case c == '"':
		if name := body[start:stringEnd(body, start)]; reservedLiteral(name) {
			return r.fail(ErrReservedName, string(name))
		}
	case c != '-' && (c < '0' || c > '9'):
		return r.fail(ErrBody, "an event begins with its name, a string or a number")
	}
	return nil
}

// checkJSON checks the syntax with encoding/json.
func (r *reader) checkJSON(body []byte) error {
	if json.Valid(body) {
		return nil
	}
	// Unmarshal finds the position of the error.
	var raw json.RawMessage
	err := json.Unmarshal(body, &raw)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		r.at += int(syntax.Offset) - 1 // it counts the offending byte
	}
	return r.fail(ErrJSON, err.Error())
}

// nestsDeeper reports whether arrays and objects are nested more than limit deep.
// It is called before json.Valid, whose stack grows with the nesting, and adds about
// a third to its cost (BenchmarkValidation). For invalid JSON the result is arbitrary.
func nestsDeeper(b []byte, limit int) bool {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = stringEnd(b, i) - 1
		case '[', '{':
			depth++
			if depth > limit {
				return true
			}
		case ']', '}':
			depth--
		}
	}
	return false
}

// hasMoreElements reports whether a JSON array has more elements than limit. For
// invalid JSON the result is arbitrary.
func hasMoreElements(b []byte, limit int) bool {
	rest := b[1:]
	for n := 1; ; n++ {
		end := elementEnd(rest)
		switch {
		case end == len(rest):
			return n > limit
		case n > limit:
			return true
		}
		rest = rest[end+1:]
	}
}
