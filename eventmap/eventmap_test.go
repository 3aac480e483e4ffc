package eventmap_test

import (
	"strings"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/eventmap"
)

// typeScript returns what a map writes.
func typeScript(t *testing.T, m eventmap.Map) string {
	t.Helper()
	var b strings.Builder
	if err := m.WriteTypeScript(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// event returns a map of one event for clients.
func event[T any](types ...eventmap.Type) eventmap.Map {
	return eventmap.Map{
		Namespaces: []eventmap.Namespace{{ServerToClient: eventmap.List(socketio.Event[T]("e"))}},
		Types:      types,
	}
}

type Move struct {
	Piece, ID string
	Class     *int   `json:"class"`
	Data      []byte `json:"image"`
	hidden    [2]int
}

func (m *Move) Args() []any {
	return []any{&m.Piece, &m.ID, &m.Class, &m.Data, &m.hidden[1], nil, 7, m.Piece}
}

type Broken struct{ inner *Move }

func (b *Broken) Args() []any { return b.inner.Args() }

// TestTypeScript_ArgumentsOfEvents compares the lines of the event maps for every kind of payload and answer, in both
// directions.
func TestTypeScript_ArgumentsOfEvents(t *testing.T) {
	t.Parallel()
	type Blob []byte
	list := eventmap.List(
		socketio.Event[socketio.None]("none"), socketio.Event[string]("text"), socketio.Event[*int]("pointer"),
		socketio.Event[[]byte]("bytes"), socketio.Event[socketio.Binary]("binary"), socketio.Event[Blob]("blob"),
		socketio.Event[*socketio.Binary]("nilBinary"), socketio.Event[any]("any"), socketio.Event[Move]("move"),
		socketio.Request[socketio.None, socketio.None]("ping"), socketio.Request[int, []string]("ask"),
		socketio.Request[string, Move]("several"), socketio.Request[string, any]("unknown"), socketio.Event[int]("with \"quotes\""),
	)
	list = append(list, socketio.Signature{Name: "raw"})
	text := typeScript(t, eventmap.Map{Namespaces: []eventmap.Namespace{{ServerToClient: list}, {Name: "/x", ClientToServer: list}}})
	common := `
  "none": () => void;
  "text": (payload: string) => void;
  "pointer": (payload: number | null) => void;
  "bytes": (payload: Binary) => void;
  "binary": (payload: Binary) => void;
  "blob": (payload: Blob | null) => void;
  "nilBinary": (payload: Binary | null) => void;
  "any": (payload: unknown) => void;
  "move": (piece: string, id: string, arg2: number | null, image: Binary, arg4: number, arg5: unknown, arg6: number, arg7: string) => void;`
	for name, want := range map[string]string{
		"ServerToClientEvents": common + `
  "ping": (callback: () => void) => void;
  "ask": (payload: number, callback: (answer: string[] | null) => void) => void;
  "several": (payload: string, callback: (piece: string, id: string, arg2: number | null, image: Binary, arg4: number, arg5: unknown, arg6: number, arg7: string) => void) => void;
  "unknown": (payload: string, callback: (answer: unknown) => void) => void;
  "with \"quotes\"": (payload: number) => void;
  "raw": (...args: any[]) => void;
}`,
		"XClientToServerEvents": common + `
  "ping": (callback: (answer: ErrorReply | undefined) => void) => void;
  "ask": (payload: number, callback: (answer: string[] | null | ErrorReply) => void) => void;
  "several": (payload: string, callback: (piece: string | ErrorReply, id: string | undefined, arg2: number | null | undefined, image: Binary | undefined, arg4: number | undefined, arg5: unknown | undefined, arg6: number | undefined, arg7: string | undefined) => void) => void;
  "unknown": (payload: string, callback: (answer: unknown | ErrorReply) => void) => void;
  "with \"quotes\"": (payload: number) => void;
  "raw": (...args: any[]) => void;
}`,
	} {
		_, got, _ := strings.Cut(text, "export interface "+name+" {")
		got, _, _ = strings.Cut(got, "\n}")
		if got+"\n}" != want {
			t.Errorf("%s: %s}\nwant %s", name, got, want)
		}
	}
}

type (
	Color string
	Level int
	Named struct{ A int }
	Array struct{ Binary struct{ A int } }
)

// TestTypeScript_TypesOfTheApplication gives types another description.
func TestTypeScript_TypesOfTheApplication(t *testing.T) {
	t.Parallel()
	type All struct {
		Color  Color
		Colors []Color
		Level  *Level
		Named  Named
		Amount *socketio.Error
		Map    map[string]int
	}
	text := typeScript(t, event[All](
		eventmap.Enum[Color]("red", "green"), eventmap.Enum[Level](1, 2), eventmap.Rename[Named]("Other"), eventmap.Rename[Level]("Height"),
		eventmap.As[socketio.Error]("{ code: string } | string", nil), eventmap.As[map[string]int]("Map<string, number>", nil),
	))
	for _, want := range []string{
		"export type Color = \"red\" | \"green\";\n", "export type Height = 1 | 2;\n", "export interface Other {\n  A: number;\n}\n",
		"export type Error = { code: string } | string;\n",
		"  Color: Color;\n  Colors: Color[] | null;\n  Level: Height | null;\n  Named: Other;\n  Amount: Error | null;\n  Map: Map<string, number>;\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\n\nhas no %q", text, want)
		}
	}
}

type Pair[A, B any] struct {
	A A
	B B
}

// Message has the name of a type in another package.
type Message struct{ Text string }

type Binary struct{ A int }

// TestTypeScript_Names looks for the names of generic types, and of types whose names are taken.
func TestTypeScript_Names(t *testing.T) {
	t.Parallel()
	type All struct {
		Pair    Pair[int, *Pair[map[string][]Named, Color]]
		Message Message
		Other   *socketio.OutgoingEvent
		Third   socketio.Message
		Binary  Binary
		Lower   lower
	}
	text := typeScript(t, event[All]())
	for _, want := range []string{
		"  Pair: PairIntOptionalPairMapStringListNamedColor;\n", "  Message: EventmapTestMessage;\n", "  Third: SocketioMessage;\n",
		"  Binary: EventmapTestBinary;\n", "  Lower: Lower;\n", "export interface PairMapStringListNamedColor {\n", "export interface Lower {\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\n\nhas no %q", text, want)
		}
	}
}

type lower struct{ A int }

// TestTypeScript_Namespaces writes two namespaces, with data.
func TestTypeScript_Namespaces(t *testing.T) {
	t.Parallel()
	data := eventmap.List(socketio.Data[Named]("user"), socketio.Data[*int]("a-b"), socketio.Data[struct{ B []socketio.Binary }]("photo"))
	text := typeScript(t, eventmap.Map{Namespaces: []eventmap.Namespace{{Data: data}, {Name: "/tenant-{id}", Data: data[:1]}, {Name: "/2"}}})
	for _, want := range []string{
		"export interface SocketData {\n  user?: Named;\n  \"a-b\"?: number | null;\n  photo?: unknown;\n}\n",
		"export interface TenantIdSocketData {\n  user?: Named;\n}\n", "export interface N2ServerToClientEvents {\n}\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\n\nhas no %q", text, want)
		}
	}
}

type (
	selfPointer *selfPointer
	selfStruct  *struct{ Next selfStruct }
)

// TestWrite_RefusesWhatItCannotDescribe names what is wrong, and writes nothing.
func TestWrite_RefusesWhatItCannotDescribe(t *testing.T) {
	t.Parallel()
	type Message struct{ A int }
	of := func(n ...eventmap.Namespace) eventmap.Map { return eventmap.Map{Namespaces: n} }
	both := eventmap.List(socketio.Event[int]("a"), socketio.Event[string]("a"))
	for _, c := range []struct {
		m    eventmap.Map
		want string
	}{
		{event[struct{ A []chan int }](), `event "e": struct { A []chan int }.A: type that cannot be described: chan int`},
		{event[map[float64]int](), "its keys are not text"},
		{event[complex64](), "complex64"},
		{event[selfPointer](), "points to itself"},
		{event[selfStruct](), "contains itself and has no name"},
		{event[*Move](), "pointer to a type that is no ordinary JSON"},
		{event[*[]byte](), "pointer to a type that is no ordinary JSON"},
		{event[Broken](), "eventmap_test.Broken: Args of the zero value: "},
		{event[int](eventmap.Enum[Color]()), "enum eventmap_test.Color: no values"},
		{event[int](eventmap.Rename[Color]("a b")), `"a b" is not an identifier`},
		{event[int](eventmap.Rename[Color]("string")), `"string" is a word of TypeScript`},
		{event[int](eventmap.Rename[Color]("class")), `"class" is a word of TypeScript`},
		{of(eventmap.Namespace{Data: eventmap.List(socketio.Data[int]("d"), socketio.Data[string]("d"))}), `data "d" is listed twice`},
		{event[int](eventmap.As[*Color]("x", nil)), "describe the type that the pointer points to"},
		{event[int](eventmap.Rename[Color]("A"), eventmap.Rename[Color]("B")), "eventmap_test.Color is described twice"},
		{event[struct{ A, B Named }](eventmap.Rename[Named]("Binary")), "the name Binary is taken: use Rename"},
		{event[Pair[Message, Named]](eventmap.Rename[Message]("Named"), eventmap.Rename[Named]("Named")), "have the name Named: use Rename"},
		{of(eventmap.Namespace{ServerToClient: both}), `event "a" is listed twice`},
		{of(eventmap.Namespace{ClientToServer: eventmap.List(socketio.Event[int]("disconnect"))}), "reserved event name"},
		{of(eventmap.Namespace{}, eventmap.Namespace{Name: "/"}), `another namespace has the prefix ""`},
		{of(eventmap.Namespace{Name: "/a", Data: eventmap.List(socketio.Data[chan int]("d"))}), `namespace "/a": data "d": `},
	} {
		for _, write := range []func(*strings.Builder) error{
			func(b *strings.Builder) error { return c.m.WriteTypeScript(b) },
			func(b *strings.Builder) error { return c.m.WriteAsyncAPI(b) },
		} {
			var b strings.Builder
			if err := write(&b); err == nil || !strings.Contains(err.Error(), c.want) || b.Len() > 0 {
				t.Errorf("%v, want %s; written: %s", err, c.want, b.String())
			}
		}
	}
}

// TestWrite_IsRepeatable writes the same text each time.
func TestWrite_IsRepeatable(t *testing.T) {
	t.Parallel()
	m := event[Pair[Named, Pair[Color, Level]]]()
	m.Namespaces[0].ClientToServer = eventmap.List(socketio.Request[Message, Binary]("a b"), socketio.Request[Message, Binary]("a-b"))
	var first string
	for range 20 {
		var b strings.Builder
		if err := m.WriteAsyncAPI(&b); err != nil {
			t.Fatal(err)
		}
		text := typeScript(t, m) + b.String()
		if first == "" {
			first = text
		}
		if text != first {
			t.Fatalf("%s\n\nis not\n\n%s", text, first)
		}
	}
}

// TestTypeScript_NamespaceThatEndsAComment: the name of a namespace is in comments.
func TestTypeScript_NamespaceThatEndsAComment(t *testing.T) {
	t.Parallel()
	text := typeScript(t, eventmap.Map{Namespaces: []eventmap.Namespace{{Name: "/org-*/chat\nx"}}})
	if got := strings.Count(text, "/org-* /chat x. "); got != 3 || strings.Contains(text, "/org-*/") {
		t.Errorf("%d of 3 comments have the name:\n%s", got, text)
	}
}

// TestAsyncAPI_EventNamedAsAnAnswer: an event cannot take the place of the answer of a request.
func TestAsyncAPI_EventNamedAsAnAnswer(t *testing.T) {
	t.Parallel()
	list := eventmap.List(socketio.Request[int, bool]("join"), socketio.Event[string]("join:answer"), socketio.Event[string]("join reply"))
	var b strings.Builder
	if err := (&eventmap.Map{Namespaces: []eventmap.Namespace{{ClientToServer: list}}}).WriteAsyncAPI(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), `"Acknowledgement of join"`); n != 1 {
		t.Errorf("%d messages are the answer of join:\n%s", n, b.String())
	}
}
