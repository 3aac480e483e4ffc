package socketio

import (
	"bytes"
	"encoding/json"
)

// marshalJSON encodes a value of the application for the wire or the log. Unlike
// json.Marshal it leaves <, > and & as they are, as JSON.stringify does: escaped
// they take six bytes each.
func marshalJSON(v any) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return unescapeHTML(bytes.TrimSuffix(text.Bytes(), []byte{'\n'})), nil
}

// unescapeHTML replaces, in place, the escapes of <, > and & in JSON by the
// characters: a MarshalJSON method that calls json.Marshal writes them.
func unescapeHTML(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\u00`)) {
		return text
	}
	out := text[:0]
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		switch string(text[i:min(i+6, len(text))]) {
		case `\u003c`, `\u003C`:
			out = append(out, '<')
			i += 5
		case `\u003e`, `\u003E`:
			out = append(out, '>')
			i += 5
		case `\u0026`:
			out = append(out, '&')
			i += 5
		default: // another escape, which may contain a second backslash
			out = append(out, text[i], text[i+1])
			i++
		}
	}
	return out
}
