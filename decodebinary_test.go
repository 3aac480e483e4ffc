package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/packet"
)

// allocated returns the bytes that f allocates, which are few enough to be counted
// in a process that does other things as well only if the other things are few.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// placeholders returns the text of n placeholders for attachment 0.
func placeholders(n int) string {
	one := string(packet.AppendPlaceholder(nil, 0))
	return strings.TrimSuffix(strings.Repeat(one+",", n), ",")
}

//nolint:paralleltest // it measures what the process allocates
func TestDecode_OneAttachmentForManyPlaceholders(t *testing.T) {
	args := []json.RawMessage{json.RawMessage("[" + placeholders(30_000) + "]")}
	attachments := [][]byte{make([]byte, 900_000)}
	sent := uint64(len(args[0]) + len(attachments[0]))
	for name, dst := range map[string]any{
		"any": new(any), "RawMessage": new(json.RawMessage), "Binary": new([]Binary), "int": new(int), "ints": new([]int),
	} {
		var err error
		if n := allocated(func() { err = decodeArgs(args, attachments, []any{dst}) }); n > 2*sent {
			t.Errorf("%s: %d bytes allocated for a packet of %d", name, n, sent)
		}
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	// The same number in each of several arguments.
	for range 3 {
		args = append(args, packet.AppendPlaceholder(nil, 0))
	}
	args[0] = json.RawMessage("null")
	var a, b any
	if err := decodeArgs(args, attachments, []any{new(any), &a, &b}); !errors.Is(err, ErrPlaceholder) {
		t.Errorf("in two arguments: %v", err)
	}
}

//nolint:paralleltest // it measures what the process allocates
func TestDecode_TypeWithoutBinary_InlinesNothing(t *testing.T) {
	type plain struct {
		Name string
		Size []int
		Next *plain
	}
	args := []json.RawMessage{json.RawMessage(`{"Name":"x","Size":[1],"blob":` + placeholders(1) + `}`)}
	attachments := [][]byte{make([]byte, 900_000)}
	var v plain
	var err error
	if n := allocated(func() { err = decodeArgs(args, attachments, []any{&v}) }); n > 100_000 || err != nil || v.Name != "x" {
		t.Errorf("%d bytes allocated for %+v, %v", n, v, err)
	}
}

func TestSeesBinary(t *testing.T) {
	t.Parallel()
	type tree struct {
		Left, Right *tree
		Label       string
	}
	type wood struct {
		Trees map[string][]tree
		hidden
	}
	for _, row := range []struct {
		v    any
		want bool
	}{
		{new(int), false},
		{new([]byte), false},
		{new(tree), false},
		{new(map[string][]tree), false},
		{new(wood), true},
		{new(any), true},
		{new(map[string]any), true},
		{new(Binary), true},
		{new(*Binary), true},
		{new(struct{ X [2]map[int]*Binary }), true},
		{new(json.RawMessage), true},
		{new(struct{ At time.Time }), true}, // an interface may contain a Binary
		{new(fmt.Stringer), true},
	} {
		if got := seesBinary(reflect.TypeOf(row.v)); got != row.want {
			t.Errorf("%T: %v", row.v, got)
		}
	}
}

type hidden struct{ Blob Binary }

// TestBinary_InEveryType: binary data of a client arrives and can be relayed, for every
// type of the handler.
func TestBinary_InEveryType_IsRelayed(t *testing.T) {
	t.Parallel()
	type doc struct {
		Name  string `json:"name"`
		Parts []any  `json:"parts"`
	}
	type typed struct {
		Name  string   `json:"name"`
		Parts []Binary `json:"parts"`
	}
	args := []json.RawMessage{json.RawMessage(
		`{"name":"<&>","parts":[` + string(packet.AppendPlaceholder(nil, 1)) + `,` + string(packet.AppendPlaceholder(nil, 0)) + `]}`)}
	attachments := [][]byte{{1, 2}, {}}
	want := `["e",{"name":"<&>","parts":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}]`
	for name, dst := range map[string]any{
		"any": new(any), "map": new(map[string]any), "RawMessage": new(json.RawMessage), "struct with any": new(doc), "typed": new(typed),
	} {
		if err := decodeArgs(args, attachments, []any{dst}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := encodeArgs("e", []any{reflect.ValueOf(dst).Elem().Interface()})
		if err != nil || string(p.json) != want || fmt.Sprint(p.attachments) != "[[] [1 2]]" {
			t.Errorf("%s: %s %v, %v", name, p.json, p.attachments, err)
		}
	}
}

func TestEncode_DataThatLooksLikeBinary_StaysData(t *testing.T) {
	t.Parallel()
	real, err := json.Marshal(Binary("real"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`{"$binary":"aGk="}`,
		`{"$binary":"aGk=","$seal":"AAAAAAAAAAAAAAAAAAAAAA"}`,
		`{"$binary":"aGk=","$seal":""}`,
		`{"$binary":"aGk=","$seal":"`,
		`{"$binary":"`,
		strings.Replace(string(real), Binary("real").base64(), "aGk=", 1), // the seal of other data
	} {
		if !json.Valid([]byte(text)) {
			text = string(mustMarshal(t, text))
		}
		var decoded any
		if err := json.Unmarshal([]byte(text), &decoded); err != nil {
			t.Fatal(err)
		}
		for _, arg := range []any{json.RawMessage(text), decoded} {
			p, err := encodeArgs("e", []any{arg, Binary("x")})
			want := `["e",` + text + `,{"_placeholder":true,"num":0}]`
			if err != nil || string(p.json) != want || len(p.attachments) != 1 {
				t.Errorf("%T: %s with %d attachments, %v; want %s", arg, p.json, len(p.attachments), err, want)
			}
		}
	}
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (b Binary) base64() string {
	text := string(b.appendJSON(nil))
	return strings.Split(text, `"`)[3]
}

func TestBinary_UnmarshalWithoutSeal(t *testing.T) {
	t.Parallel()
	var b Binary
	if err := json.Unmarshal([]byte(`{"$binary":"aGk="}`), &b); err != nil || string(b) != "hi" {
		t.Errorf("%q, %v", b, err)
	}
	for _, text := range []string{`{"$binary":"!"}`, `{"$binary":"aGk=","$seal":"x","more":1}`, `{"$binary":"aGk=","$seal":1}`, `"aGk="`, `{}`} {
		if err := json.Unmarshal([]byte(text), &b); err == nil {
			t.Errorf("%s: taken", text)
		}
	}
}

func TestEncode_ForeignPlaceholderBesideBinary_IsRefused(t *testing.T) {
	t.Parallel()
	for _, foreign := range []string{
		`{"_placeholder":true,"num":7}`, `{"_placeholder":true,"num":0}`, `{"num":0,"_placeholder":true,"x":1}`,
		`[[{"deep":{"\u005fplaceholder":true}}]]`,
	} {
		var decoded any
		if err := json.Unmarshal([]byte(foreign), &decoded); err != nil {
			t.Fatal(err)
		}
		for _, arg := range []any{json.RawMessage(foreign), decoded} {
			if p, err := encodeArgs("e", []any{arg, Binary("x")}); !errors.Is(err, ErrPlaceholder) {
				t.Errorf("%s as %T: %s, %v", foreign, arg, p.json, err)
			}
			if _, err := encodeArgs("e", []any{arg}); err != nil {
				t.Errorf("%s as %T, without binary data: %v", foreign, arg, err)
			}
		}
	}
}

func TestEncode_LeavesHTMLAsItIs(t *testing.T) {
	t.Parallel()
	html := `<a href="?x&y">` + "\u2028"
	for name, v := range map[string]any{
		"string": html, "key": map[string]string{html: ""}, "RawMessage": json.RawMessage(mustMarshal(t, html)),
		"MarshalJSON": escaping{html}, "nested": []any{struct{ X any }{escaping{html}}},
	} {
		p, err := encodeArgs("<e>", []any{v})
		if err != nil || !bytes.HasPrefix(p.json, []byte(`["<e>",`)) || bytes.Count(p.json, []byte(`<a href=\"?x&y\">`)) != 1 {
			t.Errorf("%s: %s, %v", name, p.json, err)
		}
	}
	for given, want := range map[string]string{
		`"\u003c"`: `"<"`, `"\u003C"`: `"<"`, `"\\u003c"`: `"\\u003c"`, `"\\\u003c"`: `"\\<"`, `"\\\\u0026"`: `"\\\\u0026"`,
		`"\u00e9\u0022\u0000\n"`: `"\u00e9\u0022\u0000\n"`, `"\u0026\u003e"`: `"&>"`,
	} {
		if got, err := marshalJSON(json.RawMessage(given)); err != nil || string(got) != want {
			t.Errorf("%s became %s, %v; want %s", given, got, err, want)
		}
	}
}

// escaping encodes itself with json.Marshal, as many types do.
type escaping struct{ text string }

func (e escaping) MarshalJSON() ([]byte, error) { return json.Marshal(e.text) }

func FuzzMarshal(f *testing.F) {
	f.Add(`"\\u003c\u003c"`)
	f.Add(`{"\u0026":["\ud800",{"$binary":"aGk=","$seal":"x"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var want, got any
		if json.Unmarshal([]byte(text), &want) != nil {
			return
		}
		out, err := marshalJSON(json.RawMessage(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &got); err != nil || !reflect.DeepEqual(want, got) {
			t.Fatalf("%s became %s, %v", text, out, err)
		}
		// The same as a payload, beside binary data.
		p, err := encodeArgs("e", []any{json.RawMessage(text), Binary("x")})
		if err != nil {
			if !errors.Is(err, ErrPlaceholder) {
				t.Fatal(err)
			}
			return
		}
		if len(p.attachments) != 1 || packet.CheckPlaceholders(p.json, 1) != nil {
			t.Fatalf("%s: %s with %d attachments", text, p.json, len(p.attachments))
		}
	})
}

// FuzzInline decodes packets of real sizes into a value of any type and measures
// the allocations: text with the placeholders of the fuzzer's choice, repeated, and
// attachments of some size.
func FuzzInline(f *testing.F) {
	f.Add(`{"a":{"_placeholder":true,"num":0},"b":"{\"_placeholder\":true}"}`, uint16(1), uint32(10))
	f.Add(`{"_placeholder":true,"num":0}`, uint16(30_000), uint32(900_000))
	f.Add(`[{"_placeholder":true,"num":1},{},{"x":"}"}],{"_placeholder":true,"num":0}`, uint16(1), uint32(1_000_000))
	f.Fuzz(func(t *testing.T, text string, times uint16, size uint32) {
		arg := []byte("[" + strings.TrimSuffix(strings.Repeat(text+",", int(times)%32_768), ",") + "]")
		if len(arg) > 1_000_000 || !json.Valid(arg) {
			return
		}
		size %= 1_000_001
		attachments := [][]byte{make([]byte, size), {1}}
		in := inliner{attachments: attachments}
		var out []byte
		var err error
		n := allocated(func() { out, err = in.inline(arg) })
		if most := uint64(len(arg)) + 2*uint64(size) + 100_000; n > most {
			t.Fatalf("%d bytes allocated for %d of text and %d of attachments", n, len(arg), size)
		}
		if err == nil && !json.Valid(out) {
			t.Fatalf("%.100s became %.100s", arg, out)
		}
	})
}

type point struct{ x, y int }

func (p *point) Args() []any { return []any{&p.x, &p.y} }

func TestPayload_PointerToWhatIsNoOrdinaryJSON(t *testing.T) {
	t.Parallel()
	io := NewServer(nil)
	emitted := map[string]error{
		"pointer to Positional": Event[*point]("e").Emit(t.Context(), io, &point{1, 2}),
		"nil":                   Event[*point]("e").Emit(t.Context(), io, nil),
		"pointer to None":       Event[*None]("e").Emit(t.Context(), io, &None{}),
		"pointer to []byte":     Event[*[]byte]("e").Emit(t.Context(), io, &[]byte{1}),
		"interface":             Event[Positional]("e").Emit(t.Context(), io, &point{1, 2}),
		"any that holds one":    Event[any]("e").Emit(t.Context(), io, &point{1, 2}),
		"asynchronous":          Event[*point]("e").EmitAsync(io, &point{1, 2}).Wait(t.Context()),
		"server-side":           ServerEvent[*point]("e").Emit(t.Context(), io, &point{1, 2}),
	}
	_, emitted["envelope"] = Event[*point]("e").Envelope(io, nil)
	for _, err := range Request[*point, None]("e").CallAll(t.Context(), io, &point{}) {
		emitted["CallAll"] = err
	}
	for name, err := range emitted {
		if !errors.Is(err, ErrPayloadType) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, register := range map[string]func(){
		"event":            func() { Event[*point]("1").On(io, nil) },
		"None":             func() { Event[*None]("2").On(io, nil) },
		"bytes":            func() { Event[*[]byte]("3").On(io, nil) },
		"interface":        func() { Event[Positional]("4").On(io, nil) },
		"question":         func() { Request[*point, int]("5").On(io, nil) },
		"answer":           func() { Request[int, *point]("6").On(io, nil) },
		"server event":     func() { ServerEvent[*point]("7").On(io.Of("/"), nil) },
		"server question":  func() { ServerRequest[*point, int]("8").On(io.Of("/"), nil) },
		"answer to server": func() { ServerRequest[int, *None]("9").On(io.Of("/"), nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: registered", name)
				}
			}()
			register()
		}()
	}
	Event[point]("good").On(io, func(context.Context, *Socket, point) error { return nil })
	Event[any]("any").On(io, func(context.Context, *Socket, any) error { return nil })
	if err := io.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDecode_MissingArgument(t *testing.T) {
	t.Parallel()
	var p *int
	var a any = "before"
	var b Binary
	if err := decodeArgs(nil, nil, []any{&p, &a}); err != nil || p != nil || a != nil {
		t.Errorf("%v %v %v", p, a, err)
	}
	for _, dst := range []any{new(int), new(string), new(map[string]int), &b, new(struct{}), new([]byte), nil, 3} {
		if err := decodeArgs(nil, nil, []any{dst}); !errors.Is(err, ErrMissingArgument) {
			t.Errorf("%T: %v", dst, err)
		}
	}
	var q *point
	if err := decodePayload(nil, nil, &q); !errors.Is(err, ErrPayloadType) {
		t.Errorf("a pointer to a Positional: %v", err)
	}
}
