package eventmap_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/eventmap"
	shape "github.com/pgsocket/socketio/integration/eventmap/testdata/3d"
)

// Types with names that TypeScript knows.
type (
	Array   []int
	Date    struct{ Array Array }
	Record  map[string]Date
	Promise struct {
		Type, Class, Interface string
	}
	String string
	_Odd   struct{ A int }
	Ünï    struct{ Ö int }
	Answer struct{ Event Event }
	Event  int
)

// Types that contain themselves.
type (
	Tree         []Tree
	Forest       map[string]Forest
	Linked       struct{ Next *Linked }
	Chain[T any] struct {
		Value T
		Rest  *Chain[T] `json:",omitempty"`
	}
	Ring   struct{ Other *Gnir }
	Gnir   struct{ Rings []Ring }
	Matrix [2][2]float64
)

// Level writes text where it is addressable, and a number where it is not.
type Level int

func (l *Level) MarshalText() ([]byte, error) { return []byte([]string{"low", "high"}[*l]), nil }

type (
	Embedding struct {
		Base
		*More
		Color
		fmt.Stringer
		hidden
		Named `json:"named"`
	}
	hidden struct{ Shown int }
	Named  struct{ A int }
	Shadow struct {
		Base
		Promoted int
	}
	Tagged struct {
		Constructor int    `json:"constructor"`
		Proto       int    `json:"__proto__"`
		Dash        int    `json:"-,"` //nolint:staticcheck // the name is a hyphen
		Hyphen      int    `json:"a-b"`
		Digit       int    `json:"1"`
		Unicode     string `json:"漢字"`
	}
	Options struct {
		Quoted  float64        `json:",string"`
		QuotedP *bool          `json:",string"`
		Text    String         `json:",string"`
		Number  json.Number    `json:",string"`
		Level   Level          `json:",string"`
		Zero    time.Time      `json:",omitzero"`
		Month   time.Month     `json:",omitzero"`
		Empty   map[string]int `json:",omitempty"`
		Struct  Named          `json:",omitempty"` //nolint:modernize // an option without effect
	}
	Zone struct { // a field of the name of the second argument
		Arg1 string
		rest [2]int
	}
)

func (z *Zone) Args() []any { return []any{&z.Arg1, z.rest[0], &z.rest[1]} }

// A sample is an event for clients, and values that it is emitted with.
type sample struct {
	signature socketio.Signature
	values    []any
}

// of returns an event of T with its zero value and others, each also as encoding/json encodes it where it is addressable.
func of[T any](name string, values ...T) sample {
	s := sample{signature: socketio.Event[T](name).Signature()}
	for _, v := range append(values, *new(T)) {
		s.values = append(s.values, v, &v)
	}
	return s
}

func samples() []sample {
	text, yes, next := "x", true, &Linked{}
	at := time.Date(2026, 11, 27, 1, 2, 3, 4, time.UTC)
	return []sample{
		of("bool", true), of("float", math.MaxFloat64, -1.5e-9), of("integer", int64(math.MinInt64)), of[uint8]("byte"), of[uintptr]("uintptr"),
		of("pointer", &text), of[**int]("double"), of("slice", []string{"a", "<&>\u2028"}), of("slices", [][]*int{{nil}, nil}), of[[0]int]("none"),
		of("bytes", [4]byte{1, 2}), of("array", [2]*string{&text}), of("base64", struct{ B []byte }{[]byte{1, 255}}),
		of("ints", map[int]bool{-1: true}), of("texts", map[netip.Addr][]int{netip.IPv6Loopback(): nil}), of("times", map[time.Time]int{at: 1}),
		of("raw", json.RawMessage(`{"a":[null]}`)), of[json.Number]("number", "1e3"), of("time", at), of("duration", time.Hour),
		of("any", any(map[string]any{"a": 1})), of("stringer", fmt.Stringer(nil)), of("empty", struct{}{}), of("big", big.NewInt(7)),
		of("url", url.URL{Host: "h", User: url.User("u")}), of("level", Level(1)), of("levels", []Level{0, 1}), of("levelPointer", new(Level)),
		of("levelMap", map[string]Level{"a": 1}), of("levelStruct", struct{ L Level }{1}), of("quotedLevel", Options{Quoted: 1, QuotedP: &yes, Level: 1, Zero: at, Month: 1}),
		of("tree", Tree{nil, Tree{}}), of("forest", Forest{"a": nil, "b": {}}), of("linked", Linked{next}), of("ring", Ring{&Gnir{[]Ring{{}}}}),
		of("chain", Chain[Named]{Rest: &Chain[Named]{}}), of("chains", Chain[map[string][]Chain[*int]]{}), of("matrix", Matrix{{1}}),
		of("anonymous", struct {
			Inner struct{ A []struct{ B *int } } `json:"inner"`
		}{}),
		of("embedding", Embedding{More: &More{1}}), of("shadow", Shadow{Base{"a"}, 1}), of("tagged", Tagged{}), of("names", Record{"a": {Array{1}}}),
		of("promise", Promise{}), of[String]("string"), of[_Odd]("odd"), of[Ünï]("ünï"), of("answer", Answer{}),
		of("post", Post{Text: "a"}), of("solid", shape.Post{Solid: "b"}),
		of[int]("a \"quoted\" 'name' `${x}`\\"), of[int]("two\nlines\r\u2028\u2029\x00"), of[int]("漢字 😀"), of[int]("*/"), of[int]("constructor"), of[int]("__proto__"), of[int]("1"), of[int](""),
	}
}

// TestTypeScript_ShapesAreWhatIsWritten compiles what encoding/json writes, as literals, against the types of the events.
func TestTypeScript_ShapesAreWhatIsWritten(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	m := &eventmap.Map{
		Namespaces: []eventmap.Namespace{{}, {Name: "/2-class", ClientToServer: eventmap.List(socketio.Request[Zone, Zone]("zone"))}},
		Types:      []eventmap.Type{eventmap.Enum[Level](0, 1), eventmap.Enum[Color]("", "red")},
	}
	var values strings.Builder
	values.WriteString("import type { ServerToClientEvents as E } from \"./events.js\";\n")
	for i, s := range samples() {
		m.Namespaces[0].ServerToClient = append(m.Namespaces[0].ServerToClient, s.signature)
		for j, v := range s.values {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("%q: %v", s.signature.Name, err)
			}
			name, err := json.Marshal(s.signature.Name)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&values, "export const v%d_%d: Parameters<E[%s]>[0] = %s;\n", i, j, name, strings.ReplaceAll(string(text), `"__proto__":`, `["__proto__"]:`))
		}
	}
	p.writeTypes("events.ts", m)
	p.write("values.ts", values.String())
	if out := p.compile(); out != "" {
		t.Errorf("%s\n%s\n%s", out, read(t, p.dir+"/events.ts"), values.String())
	}
}
