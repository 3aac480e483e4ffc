// Package eventmap describes the events of an application to its clients: as the event
// maps that the TypeScript types of Socket.IO take, and as an AsyncAPI 3.0 document. It
// reads the types of the payloads from the [socketio.Event], [socketio.Request] and
// [socketio.Data] values that the application uses, by reflection.
//
//	m := eventmap.Map{Namespaces: []eventmap.Namespace{{
//		ServerToClient: eventmap.List(Posted, Moved),
//		ClientToServer: io.Handled(), // or a List
//		Data:           eventmap.List(CurrentUser),
//	}}}
//	err := m.WriteTypeScript(file)
//
// The client imports the result:
//
//	import type { ServerToClientEvents, ClientToServerEvents } from "./events.js";
//	const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();
//
// # Arguments and answers
//
// The payload of an event is one argument, [socketio.None] is none, and a
// [socketio.Positional] is several: those that Args returns for the zero value. An
// argument that is a field of the value has the name of the field.
//
// A request has a callback as its last argument. Of a request to the server the callback
// takes the answer or an ErrorReply, because the answer of a handler that fails is what
// Options.ErrorReply returns. The ErrorReply is the first argument also where an answer is
// Positional, and the only one where it is None. Of a request to the client the callback
// takes the answer only. A client that passes no callback gets no answer; the types
// require one, as emitWithAck takes the type of the answer from it.
//
// The events in the payload of a [socketio.History] are those of the namespace: PastEvent is
// the union of their names with their arguments, which a comparison of the name narrows.
//
// In the types of socket.io-client 4.8 the result of socket.timeout(…).emitWithAck(…) is
// any. AnswerOf<"event"> names its type.
//
// A handler that was registered with Handle takes any arguments. The argument that
// recovery adds to events for clients, the offset, is not described.
//
// # Types
//
// A type is described as encoding/json encodes it for the wire:
//
//   - Names, order and conflicts of fields, embedded structs, and the option string follow
//     encoding/json. A field of an embedded pointer is optional.
//   - A field is optional if it may be omitted: with omitempty if its type has an empty
//     value, which structs, among them time.Time, and arrays do not; with omitzero always.
//   - Pointers, slices and maps may be nil, which is null: T | null. With omitempty and
//     omitzero nil is omitted, and the field is never null. A nil []byte or Binary that is
//     sent as an attachment is an empty one.
//   - A payload of the type []byte, and a [socketio.Binary] anywhere, is an attachment: an
//     ArrayBuffer in browsers, a Buffer, which is a Uint8Array, in Node.js. Any other slice
//     of bytes is text in base64. An array of bytes is an array of numbers.
//   - Every integer is a number, which JavaScript reads exactly up to 2^53: give larger ones
//     the option string.
//   - [time.Time] is text in RFC 3339, [time.Duration] a number of nanoseconds.
//   - A type with MarshalText is text. A type with MarshalJSON is unknown, as are interfaces
//     and [json.RawMessage]; describe it with [As]. A type whose pointer has one of these
//     methods is unknown too, as encoding/json calls it only for addressable values;
//     a pointer to it is not.
//   - A map has text as its keys, whatever their Go type.
//   - Channels, functions, complex numbers and maps with other keys are refused.
//
// In the other direction encoding/json takes more than these types permit: a missing
// field, for example, keeps its zero value. A type that reads another form than it writes
// needs an [As].
//
// Reflection sees neither comments nor constants: give the values of an enumeration with
// [Enum]. Types of one name are qualified by their packages: chat.Post and blog.Post are
// ChatPost and BlogPost. If that does not suffice, Write fails, and [Rename] helps.
//
// SocketData has the values that [socketio.Data] keeps with a socket, each optional. The
// server does not send them to clients by itself: the type is for programs that read them,
// and for a client whose server sends one as a payload. A value with Binary inside is
// unknown there, as it is stored in another form.
package eventmap

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pgsocket/socketio"
)

// A Map is what is described in one file. Its zero value is empty. A Map is not changed
// by writing it.
type Map struct {
	Namespaces []Namespace

	// Types describe Go types in another way than reflection does.
	Types []Type

	// ErrorReply is the type that Options.ErrorReply of the server returns. Default: that
	// of its default, which clients get also when that function fails.
	ErrorReply reflect.Type

	Title   string // of the AsyncAPI document; default "Events"
	Version string // of the AsyncAPI document; default "0.0.0"
}

// A Namespace is the events of one namespace.
type Namespace struct {
	// Name is the name that clients connect to. Default "/". In the AsyncAPI document it is
	// the address of a channel, in which parts in braces are parameters: /tenant-{id}. The
	// TypeScript types of a namespace begin with its letters and digits:
	// TenantIdServerToClientEvents. Those of "/" have no such prefix.
	Name string

	ServerToClient []socketio.Signature // what the server emits and calls
	ClientToServer []socketio.Signature // what it handles: a List, or Handled of the server
	Data           []socketio.Signature
}

// A Signer is a value with a signature: an Event, a Request, a History or a Data.
type Signer interface{ Signature() socketio.Signature }

// List returns the signatures of the values.
func List(values ...Signer) []socketio.Signature {
	list := make([]socketio.Signature, len(values))
	for i, v := range values {
		list[i] = v.Signature()
	}
	return list
}

// A Type describes a Go type in another way than reflection does: see [As], [Enum] and
// [Rename].
type Type struct {
	of         reflect.Type
	name       string
	typeScript string
	schema     any
	err        error
}

// As describes T as a TypeScript type and as a JSON Schema: a value that encoding/json
// encodes as one, or nil for any value. Both must fit all that T encodes to, and null only
// if T may be nil: for a slice that never is, leave null out. A pointer to T is null or
// this.
func As[T any](typeScript string, schema any) Type {
	return Type{of: reflect.TypeFor[T](), typeScript: typeScript, schema: schema}
}

// Enum describes T as one of the values, which encode to text, numbers or booleans. Where
// only the pointer to T has MarshalJSON or MarshalText, encoding/json calls it for
// addressable values only, and T is one of both forms of the values.
func Enum[T any](values ...T) Type {
	e := Type{of: reflect.TypeFor[T]()}
	var texts []string
	var schemas []json.RawMessage
	for i := range values {
		for _, v := range []any{values[i], &values[i]} {
			text, err := json.Marshal(v)
			if err != nil {
				e.err = fmt.Errorf("enum %s: %w", e.of, err)
				return e
			}
			if !slices.Contains(texts, string(text)) {
				texts, schemas = append(texts, string(text)), append(schemas, text)
			}
		}
	}
	if len(values) == 0 {
		e.err = fmt.Errorf("enum %s: no values", e.of)
	}
	e.typeScript, e.schema = strings.Join(texts, " | "), map[string]any{"enum": schemas}
	return e
}

// Rename gives T another name than its Go name.
func Rename[T any](name string) Type {
	r := Type{of: reflect.TypeFor[T](), name: name}
	switch {
	case isKeyword(name):
		r.err = fmt.Errorf("rename %s: %q is a word of TypeScript", r.of, name)
	case !isIdentifier(name):
		r.err = fmt.Errorf("rename %s: %q is not an identifier", r.of, name)
	}
	return r
}

// isIdentifier reports whether the text has the form of a name in TypeScript.
func isIdentifier(text string) bool {
	for i, c := range text {
		if !unicode.IsLetter(c) && c != '_' && c != '$' && (i == 0 || !unicode.IsDigit(c)) {
			return false
		}
	}
	return text != ""
}

// pascal returns the letters and digits of a text, each word with an upper-case letter at
// its beginning: PascalCase.
func pascal(text string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(text, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		first, size := utf8.DecodeRuneInString(word)
		b.WriteRune(unicode.ToUpper(first))
		b.WriteString(word[size:])
	}
	return b.String()
}
