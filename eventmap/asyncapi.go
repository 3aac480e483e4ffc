package eventmap

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// WriteAsyncAPI writes the events as an AsyncAPI 3.0 document in JSON, of the server as the
// application. A namespace is a channel, an event is an operation: the server sends what
// goes to clients, and receives what they emit. The payload of a message is the array of
// the event's arguments, without its name, as JSON Schema; an attachment is text of the
// format binary. An acknowledgement is a reply, and so is the error that may take its
// place. SocketData is not part of the document. WriteAsyncAPI fails before it writes if a
// type cannot be described.
func (m *Map) WriteAsyncAPI(w io.Writer) error {
	d, err := m.describe()
	if err != nil {
		return fmt.Errorf("eventmap: %w", err)
	}
	doc := document{
		AsyncAPI: "3.0.0",
		Info: info{
			Title: cmp.Or(m.Title, "Events"), Version: cmp.Or(m.Version, "0.0.0"),
			Description: "Events of a Socket.IO server. A channel is a namespace. The payload of a message is the array of the arguments of an event, without its name.",
		},
		ContentType: "application/json",
		Channels:    make(map[string]channel), Operations: make(map[string]operation),
		Components: components{Schemas: map[string]any{"ErrorReply": d.errorReply.schema()}},
	}
	for _, n := range d.namespaces {
		doc.add(&n)
	}
	for _, def := range d.definitions {
		doc.Components.Schemas[componentKey(def.name)] = def.body.schema()
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("eventmap: %w", err) // a schema of the application
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// The parts of a document, see https://www.asyncapi.com/docs/reference/specification/v3.0.0.
type (
	document struct {
		AsyncAPI    string               `json:"asyncapi"`
		Info        info                 `json:"info"`
		ContentType string               `json:"defaultContentType"`
		Channels    map[string]channel   `json:"channels"`
		Operations  map[string]operation `json:"operations"`
		Components  components           `json:"components"`
	}
	info struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
	}
	channel struct {
		Address    string              `json:"address"`
		Messages   map[string]message  `json:"messages"`
		Parameters map[string]struct{} `json:"parameters,omitempty"`
	}
	message struct {
		Name    string `json:"name"`
		Title   string `json:"title"`
		Payload any    `json:"payload"`
	}
	operation struct {
		Action   string      `json:"action"`
		Channel  reference   `json:"channel"`
		Messages []reference `json:"messages"`
		Reply    *reply      `json:"reply,omitempty"`
	}
	reply struct {
		Channel  reference   `json:"channel"`
		Messages []reference `json:"messages"`
	}
	reference struct {
		Ref string `json:"$ref"`
	}
	components struct {
		Schemas map[string]any `json:"schemas"`
	}
)

// parameter matches a parameter in the address of a channel.
var parameter = regexp.MustCompile(`\{([^{}]+)\}`)

func (d *document) add(n *namespace) {
	key := componentKey(cmp.Or(n.prefix, "main"))
	c := channel{Address: n.name, Messages: make(map[string]message)}
	for _, m := range parameter.FindAllStringSubmatch(n.name, -1) {
		if c.Parameters == nil {
			c.Parameters = make(map[string]struct{})
		}
		c.Parameters[m[1]] = struct{}{}
	}
	toChannel := reference{"#/channels/" + key}
	put := func(id string, m message) reference {
		c.Messages[id] = m
		return reference{toChannel.Ref + "/messages/" + id}
	}
	add := func(action string, e *event) {
		id := d.operationKey(action, n.prefix, e.name)
		payload := tuple(e.args)
		if e.any {
			payload = map[string]any{"type": "array"}
		}
		o := operation{Action: action, Channel: toChannel}
		o.Messages = []reference{put(id, message{e.name, e.name, payload})}
		if e.request {
			answer := put(id+"_reply", message{e.name, "Acknowledgement of " + e.name, tuple(e.answers)})
			o.Reply = &reply{Channel: toChannel, Messages: []reference{answer}}
		}
		if e.request && action == "receive" {
			failed := tuple([]argument{{shape: &shape{kind: shapeNamed, named: &definition{name: "ErrorReply"}}}})
			o.Reply.Messages = append(o.Reply.Messages, put("ErrorReply", message{"ErrorReply", "Acknowledgement of a request that failed", failed}))
		}
		d.Operations[id] = o
	}
	for _, e := range n.toClient {
		add("send", &e)
	}
	for _, e := range n.toServer {
		add("receive", &e)
	}
	d.Channels[key] = c
}

// operationKey returns a key that no operation has, of letters and digits.
func (d *document) operationKey(action, prefix, event string) string {
	key := componentKey(action + prefix + pascal(event))
	for n := 2; ; n++ {
		if _, taken := d.Operations[key]; !taken {
			return key
		}
		key = componentKey(action+prefix+pascal(event)) + "_" + strconv.Itoa(n)
	}
}

// componentKey returns a name in the characters that AsyncAPI permits.
func componentKey(name string) string {
	var b strings.Builder
	for _, c := range name {
		if c <= unicode.MaxASCII && c != '$' {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, "_u%04x", c)
		}
	}
	return b.String()
}

// tuple returns the schema of a list of arguments. More may follow: the offset of a recorded
// event, for example.
func tuple(args []argument) any {
	schemas := make([]any, len(args))
	for i, a := range args {
		schemas[i] = a.shape.schema()
	}
	s := map[string]any{"type": "array"}
	if len(args) > 0 {
		s["items"], s["minItems"] = schemas, len(args)
	}
	return s
}

// schema returns the JSON Schema of a shape, of draft 7 as AsyncAPI takes it.
func (s *shape) schema() any {
	if !s.null || s.kind == shapeUnknown {
		return s.presentSchema()
	}
	present := s.presentSchema()
	if object, ok := present.(map[string]any); ok && s.kind != shapeCustom {
		if name, ok := object["type"].(string); ok {
			object["type"] = []string{name, "null"}
			return object
		}
	}
	return map[string]any{"anyOf": []any{present, map[string]any{"type": "null"}}}
}

func (s *shape) presentSchema() any {
	switch s.kind {
	case shapeBoolean:
		return map[string]any{"type": "boolean"}
	case shapeNumber:
		return map[string]any{"type": "number"}
	case shapeInteger:
		return s.integerSchema()
	case shapeText:
		text := map[string]any{"type": "string"}
		if s.format != "" {
			text["format"] = s.format
		}
		return text
	case shapeBinary:
		return map[string]any{"type": "string", "format": "binary"}
	case shapeNamed:
		return reference{"#/components/schemas/" + componentKey(s.named.name)}
	case shapeCustom:
		if s.custom.schema != nil {
			return s.custom.schema
		}
	case shapeList:
		list := map[string]any{"type": "array", "items": s.elem.schema()}
		if s.length >= 0 {
			list["minItems"], list["maxItems"] = s.length, s.length
		}
		return list
	case shapeRecord:
		return map[string]any{"type": "object", "additionalProperties": s.elem.schema()}
	case shapeObject:
		return s.objectSchema()
	default:
	}
	return map[string]any{}
}

func (s *shape) objectSchema() any {
	properties := make(map[string]any, len(s.fields))
	required := []string{}
	for _, f := range s.fields {
		properties[f.name] = f.shape.schema()
		if !f.optional {
			required = append(required, f.name)
		}
	}
	object := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

func (s *shape) integerSchema() any {
	integer := map[string]any{"type": "integer"}
	switch s.goKind {
	case reflect.Int32:
		integer["format"] = "int32"
	case reflect.Int, reflect.Int64:
		integer["format"] = "int64"
	default:
	}
	if s.goKind >= reflect.Uint {
		integer["minimum"] = 0
	}
	return integer
}
