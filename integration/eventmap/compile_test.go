package eventmap_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/eventmap"
)

type (
	Kind string
	Post struct {
		Text   string  `json:"text"`
		Kind   Kind    `json:"kind"`
		Editor *string `json:"editor,omitempty"`
	}
	Moved struct {
		X, Y int
		Who  string
	}
)

func (m *Moved) Args() []any { return []any{&m.X, &m.Y, &m.Who} }

// The events of the client in testdata.
func chatEvents() (toClient, toServer, data []socketio.Signature) {
	type Seat struct {
		Seat int `json:"seat"`
	}
	type User struct {
		Name string `json:"name"`
	}
	toClient = eventmap.List(
		socketio.Event[Post]("chat:posted"), socketio.Event[Moved]("chat:moved"), socketio.Request[string, int]("chat:asked"),
	)
	toServer = eventmap.List(
		socketio.Request[string, Seat]("chat:join"), socketio.Request[Post, socketio.None]("chat:say"), socketio.Event[[]byte]("chat:file"),
	)
	return toClient, toServer, eventmap.List(socketio.Data[User]("user"))
}

// chatMap returns the map of the chat after a signature took the place of the one of the same name.
func chatMap(kinds []Kind, changed socketio.Signature) *eventmap.Map {
	toClient, toServer, data := chatEvents()
	for _, list := range [][]socketio.Signature{toClient, toServer, data} {
		for i := range list {
			if list[i].Name == changed.Name {
				list[i] = changed
			}
		}
	}
	return &eventmap.Map{
		Namespaces: []eventmap.Namespace{{ServerToClient: toClient, ClientToServer: toServer, Data: data}},
		Types:      []eventmap.Type{eventmap.Enum(kinds...)},
	}
}

type Moved3D struct {
	Moved
	Z *int
}

func (m *Moved3D) Args() []any { return []any{&m.Z, &m.X, &m.Y, &m.Who} }

// A change of the Go types of the client in testdata.
type change struct {
	name    string
	changed socketio.Signature
	kinds   []Kind
	errors  []string // the names of the lines with errors
}

func changes() []change {
	return []change{
		{name: "nothing"},
		{
			name: "field renamed",
			changed: socketio.Event[struct {
				Body   string  `json:"body"`
				Editor *string `json:"editor,omitempty"`
			}]("chat:posted").Signature(),
			errors: []string{"text"},
		},
		{
			name: "field may be null",
			changed: socketio.Event[struct {
				Text   *string `json:"text"`
				Editor *string `json:"editor,omitempty"`
			}]("chat:posted").Signature(),
			errors: []string{"text"},
		},
		{
			name: "field is omitted",
			changed: socketio.Event[struct {
				Text   string `json:"text,omitempty"`
				Editor string `json:"editor,omitempty"`
			}]("chat:posted").Signature(),
			errors: []string{"text"},
		},
		{
			name: "type of a field",
			changed: socketio.Event[struct {
				Text   string `json:"text"`
				Editor []int  `json:"editor,omitempty"`
			}]("chat:posted").Signature(),
			errors: []string{"editor"},
		},
		{
			name: "new required field",
			changed: socketio.Request[struct {
				Post
				Room string `json:"room"`
			}, socketio.None]("chat:say").Signature(),
			errors: []string{"say"},
		},
		{name: "payload may be null", changed: socketio.Event[*Post]("chat:posted").Signature(), errors: []string{"text", "editor"}},
		{name: "one argument more", changed: socketio.Event[Moved3D]("chat:moved").Signature(), errors: []string{"arguments"}},
		{name: "answer to the server", changed: socketio.Request[string, string]("chat:asked").Signature(), errors: []string{"callback"}},
		{name: "payload of a request", changed: socketio.Request[int, struct {
			Seat int `json:"seat"`
		}]("chat:join").Signature(), errors: []string{"join"}},
		{name: "answer of the server", changed: socketio.Request[string, struct {
			Number int `json:"number"`
		}]("chat:join").Signature(), errors: []string{"seat"}},
		{name: "answer in place of none", changed: socketio.Request[Post, bool]("chat:say").Signature(), errors: []string{"void"}},
		{
			name:    "event in place of a request",
			changed: socketio.Event[string]("chat:join").Signature(), errors: []string{"join"},
		},
		{name: "base64 in place of an attachment", changed: socketio.Event[struct{ File []byte }]("chat:file").Signature(), errors: []string{"file"}},
		{name: "data", changed: socketio.Data[struct{ Nick string }]("user").Signature(), errors: []string{"data"}},
		{name: "value of an enumeration", kinds: []Kind{"loud"}, errors: []string{"literal"}},
	}
}

// TestTypeScript_GoChanges_ErrorAtTheLine compiles the client as it is, and after each of several changes of the Go types.
func TestTypeScript_GoChanges_ErrorAtTheLine(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	client := read(t, "testdata/client.ts")
	for i, c := range changes() {
		if c.kinds == nil {
			c.kinds = []Kind{"plain", "loud"}
		}
		dir := fmt.Sprintf("change%d/", i)
		p.write(dir+"client.ts", client)
		p.writeTypes(dir+"events.ts", chatMap(c.kinds, c.changed))
	}
	out := p.compile()
	for i, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			checkErrors(t, out, fmt.Sprintf("change%d/client.ts", i), c.errors)
		})
	}
}

// checkErrors checks that the compiler complains about the lines of a file that have these names, and no others.
func checkErrors(t *testing.T, out, file string, names []string) {
	t.Helper()
	var got, want []string
	for _, m := range regexp.MustCompile(`(?m)^(\S+)\((\d+),\d+\): error`).FindAllStringSubmatch(out, -1) {
		if m[1] == file && !slices.Contains(got, m[2]) {
			got = append(got, m[2])
		}
	}
	for n, line := range strings.Split(read(t, "testdata/client.ts"), "\n") {
		if _, name, named := strings.Cut(line, "; // "); named && slices.Contains(names, name) {
			want = append(want, strconv.Itoa(n+1))
		}
	}
	if len(want) != len(names) || !slices.Equal(got, want) {
		t.Errorf("errors at the lines %v, want %v: %v\n%s", got, want, names, out)
	}
}
