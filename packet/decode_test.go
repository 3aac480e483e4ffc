package packet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

// malformed are texts that a decoder with default limits must refuse.
var malformed = []struct {
	name string
	text string
	want error
}{
	{"empty", ``, ErrType},
	{"type above the last", `7["a"]`, ErrType},
	{"type below zero", `/`, ErrType},
	{"type of another script", "２[\"a\"]", ErrType},
	{"bytes that are not UTF-8", "2[\"\xff\"]", ErrUTF8},
	{"surrogate encoded as UTF-8", "2[\"\xed\xa0\x80\"]", ErrUTF8},
	{"namespace that is not UTF-8", "0/\xc3", ErrUTF8},

	{"no attachments announced", `5["a"]`, ErrAttachments},
	{"attachments without a number", `5-["a"]`, ErrAttachments},
	{"zero attachments", `50-["a"]`, ErrAttachments},
	{"zero attachments of an ack", `60-1[]`, ErrAttachments},
	{"attachments without a dash", `51["a"]`, ErrAttachments},
	{"attachments and nothing more", `51`, ErrAttachments},
	{"negative attachments", `5-1-["a"]`, ErrAttachments},
	{"hexadecimal attachments", `50x1-["a"]`, ErrAttachments},
	{"fractional attachments", `51.0-["a"]`, ErrAttachments},
	{"one attachment too many", `511-["a"]`, ErrLimit},
	{"more attachments than a number holds", `599999999999999999999-["a"]`, ErrLimit},

	{"namespace over the limit", `0/` + strings.Repeat("n", 1024), ErrLimit},
	{"ack id just above 2^53-1", `29007199254740992["a"]`, ErrAckID},
	{"ack id above 64 bits", `218446744073709551617["a"]`, ErrAckID},
	{"negative ack id", `3-1[]`, ErrBody},

	{"connect with an array", `0[]`, ErrBody},
	{"connect with a string", `0"a"`, ErrBody},
	{"connect with null", `0null`, ErrBody},
	{"disconnect with a body", `1{}`, ErrBody},
	{"event with an object", `2{}`, ErrBody},
	{"event without a name", `2[]`, ErrBody},
	{"event named by null", `2[null]`, ErrBody},
	{"event named by an array", `2[["a"]]`, ErrBody},
	{"event named by a placeholder", `51-[{"_placeholder":true,"num":0}]`, ErrBody},
	{"ack with an object", `31{}`, ErrBody},
	{"connect error with an array", `4[]`, ErrBody},

	{"JSON cut short", `2["a"`, ErrJSON},
	{"JSON followed by more", `2["a"]]`, ErrJSON},
	{"JSON with a lost comma", `2["a",]`, ErrJSON},
	{"JSON with a control character", "2[\"a\n\"]", ErrJSON},
	{"JSON with a number begun by zero", `2["a",01]`, ErrJSON},
	{"JSON object cut short", `0{"a":`, ErrJSON},
	{"JSON string without an end", `4"a`, ErrJSON},
	{"JSON that is too deep", `2["a",` + nested(128) + `]`, ErrLimit},
	{"JSON that is too deep for a stack", `2["a",` + nested(100_000) + `]`, ErrLimit},
	{"auth that is too deep", `0{"a":` + nested(128) + `}`, ErrLimit},

	{"placeholder of an absent attachment", `51-["a",{"_placeholder":true,"num":1}]`, ErrPlaceholder},
	{"placeholder with a great number", `51-["a",{"_placeholder":true,"num":99999999999999999999}]`, ErrPlaceholder},
	{"placeholder with a negative number", `51-["a",{"_placeholder":true,"num":-1}]`, ErrPlaceholder},
	{"placeholder with minus zero", `51-["a",{"_placeholder":true,"num":-0}]`, ErrPlaceholder},
	{"placeholder with a fraction", `51-["a",{"_placeholder":true,"num":0.5}]`, ErrPlaceholder},
	{"placeholder with a text for a number", `51-["a",{"_placeholder":true,"num":"0"}]`, ErrPlaceholder},
	{"placeholder without a number", `51-["a",{"_placeholder":true}]`, ErrPlaceholder},
	{"placeholder with more", `51-["a",{"_placeholder":true,"num":0,"x":1}]`, ErrPlaceholder},
	{"placeholder twice", `51-["a",{"_placeholder":true,"_placeholder":true}]`, ErrPlaceholder},
	{"placeholder with two numbers", `51-["a",{"num":0,"_placeholder":true,"num":0}]`, ErrPlaceholder},
	{"placeholder in disguise", `51-["a",{"\u005fplaceholder":true,"num":1}]`, ErrPlaceholder},
	{"placeholder in depth", `51-["a",[{"b":{"_placeholder":true,"num":7}}]]`, ErrPlaceholder},
	{"placeholder behind another", `51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, ErrPlaceholder},
	{"placeholder of an ack", `61-1[{"_placeholder":true,"num":1}]`, ErrPlaceholder},
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestDecode_MalformedText(t *testing.T) {
	t.Parallel()
	for _, row := range malformed {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p, err := decode(Limits{}, row.text, nil)
			if p != nil || !errors.Is(err, row.want) {
				t.Errorf("got %+v, %v; want error %q", p, err, row.want)
			}
			if err != nil && len(err.Error()) > 200 {
				t.Errorf("the error of %d bytes repeats the text", len(err.Error()))
			}
		})
	}
}

func TestDecode_ReservedName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
	} {
		if !Reserved(name) {
			t.Errorf("%s is not reserved", name)
		}
		disguised := strings.Replace(name, "c", `\u0063`, 1)
		disguised = strings.Replace(disguised, "L", `\u004C`, 1)
		for _, text := range []string{`2["` + name + `"]`, `2[ "` + disguised + `",1]`, `51-["` + name + `"]`} {
			if _, err := decode(Limits{}, text, nil); !errors.Is(err, ErrReservedName) {
				t.Errorf("%s: got error %v", text, err)
			}
		}
	}
	for _, name := range []string{"", "connection", "Connect", "connect ", "error", "message"} {
		if Reserved(name) {
			t.Errorf("%q is reserved", name)
		}
	}
}

func TestDecode_TextBetweenAttachments(t *testing.T) {
	t.Parallel()
	var d Decoder
	if p, err := d.Text([]byte(binaryText(2))); p != nil || err != nil {
		t.Fatal(p, err)
	}
	if p, err := d.Binary([]byte("first")); p != nil || err != nil {
		t.Fatal(p, err)
	}
	if _, err := d.Text([]byte(`2["b"]`)); !errors.Is(err, ErrUnexpectedText) {
		t.Error(err)
	}
	if _, err := d.Binary([]byte("second")); !errors.Is(err, ErrUnexpectedBinary) {
		t.Error("the incomplete packet was not dropped:", err)
	}
}

func TestDecode_UnexpectedBinary(t *testing.T) {
	t.Parallel()
	var d Decoder
	if _, err := d.Binary([]byte("stray")); !errors.Is(err, ErrUnexpectedBinary) {
		t.Error(err)
	}
	if _, err := d.Text([]byte(`2["a"]`)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Binary(nil); !errors.Is(err, ErrUnexpectedBinary) {
		t.Error(err)
	}
}

func TestDecode_ManyPackets(t *testing.T) {
	t.Parallel()
	d := NewDecoder(Limits{})
	for range 3 {
		for _, g := range golden {
			p, err := d.Text([]byte(g.text))
			for _, a := range g.packet.Attachments {
				if p != nil {
					t.Fatalf("%s: complete before its attachments", g.text)
				}
				p, err = d.Binary(a)
			}
			if err != nil || p == nil {
				t.Fatalf("%s: %v, %v", g.text, p, err)
			}
		}
	}
}

func TestDecode_CopiesItsInput(t *testing.T) {
	t.Parallel()
	text := []byte(`51-/name,["a",{"_placeholder":true,"num":0}]`)
	attachment := []byte("attachment")
	var d Decoder
	_, err := d.Text(text)
	clear(text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Binary(attachment)
	clear(attachment)
	if err != nil {
		t.Fatal(err)
	}
	if p.Namespace != "/name" || string(p.Data) != `["a",{"_placeholder":true,"num":0}]` {
		t.Errorf("%s %s", p.Namespace, p.Data)
	}
	if string(p.Attachments[0]) != "attachment" {
		t.Errorf("%s", p.Attachments[0])
	}
}

func TestDecode_Limits(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		limits  Limits
		within  string
		without string
	}{
		{"attachments", Limits{MaxAttachments: 12}, binaryText(12), binaryText(13)},
		{"fewer attachments", Limits{MaxAttachments: 1}, binaryText(1), binaryText(2)},
		{"namespace", Limits{MaxNamespace: 4}, `0/abc`, `0/abcd`},
		{"namespace in bytes", Limits{MaxNamespace: 4}, `0/aé`, `0/aéé`},
		{"depth", Limits{MaxDepth: 2}, `2["a",{}]`, `2["a",[{}]]`},
		{"depth of text", Limits{MaxDepth: 1}, `2["[[[\"[["]`, `2["[[",[]]`},
		{"bytes of a binary packet", Limits{MaxPacketBytes: len(binaryText(1))}, binaryText(1), binaryText(1) + " "},
		{"bytes of a plain packet are the transport's", Limits{MaxPacketBytes: 1}, `2["a"]`, binaryText(1)},
		{"below zero is the default", Limits{MaxAttachments: -1, MaxDepth: -1, MaxNamespace: -1}, binaryText(10), binaryText(11)},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if _, err := decode(row.limits, row.within, nil); err != nil {
				t.Errorf("%s: %v", row.within, err)
			}
			if _, err := decode(row.limits, row.without, nil); !errors.Is(err, ErrLimit) {
				t.Errorf("%s: %v", row.without, err)
			}
		})
	}
}

// binaryText returns the text of an event with that many attachments.
func binaryText(attachments int) string {
	text := fmt.Appendf(nil, `5%d-["a"`, attachments)
	for i := range attachments {
		text = AppendPlaceholder(append(text, ','), i)
	}
	return string(append(text, ']'))
}

func TestDecode_MaxPacketBytes(t *testing.T) {
	t.Parallel()
	text := []byte(binaryText(3))
	d := NewDecoder(Limits{MaxPacketBytes: len(text) + 10})
	if _, err := d.Text(text); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Binary(make([]byte, 10)); err != nil {
		t.Fatal("exactly at the limit:", err)
	}
	if _, err := d.Binary(nil); err != nil {
		t.Fatal("nothing more:", err)
	}
	if _, err := d.Binary(make([]byte, 1)); !errors.Is(err, ErrLimit) {
		t.Fatal("one byte over:", err)
	}
	if d.gathering != nil {
		t.Error("the incomplete packet was not dropped")
	}
}

//nolint:paralleltest // AllocsPerRun counts what the whole process allocates
func TestDecode_AnnouncedAttachments_NotAllocated(t *testing.T) {
	text := []byte(binaryText(10))
	d := NewDecoder(Limits{MaxAttachments: 1e6})
	allocations := testing.AllocsPerRun(100, func() {
		d.gathering = nil
		if _, err := d.Text(text); err != nil {
			t.Error(err)
		}
	})
	if allocations > 4 { // the packet, its data, the gathering, the list of placeholders
		t.Errorf("%v allocations", allocations)
	}
	if held := cap(d.gathering.packet.Attachments); held != 0 {
		t.Errorf("capacity for %d attachments before the first has arrived", held)
	}
	d.gathering = nil
	allocations = testing.AllocsPerRun(100, func() {
		if _, err := d.Text([]byte(`51000000-["a"]`)); !errors.Is(err, ErrPlaceholder) {
			t.Error(err)
		}
	})
	if allocations > 6 { // the error
		t.Errorf("%v allocations for a number", allocations)
	}
}

//nolint:paralleltest // AllocsPerRun counts what the whole process allocates
func TestDecode_CopiesOnce(t *testing.T) {
	text := []byte(`212["a","` + strings.Repeat("x", 1000) + `"]`)
	var d Decoder
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := d.Text(text); err != nil {
			t.Error(err)
		}
	})
	if allocations > 2 { // the packet and its data
		t.Errorf("%v allocations", allocations)
	}
}

func TestDecoder_Size(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Decoder{}); size > 48 {
		t.Errorf("%d bytes for each connection", size)
	}
}

func TestDecode_ErrorPosition(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`9`:                                      `unknown packet type: "9", at byte 0`,
		`2/n,[nil]`:                              `invalid JSON: invalid character 'i' in literal null (expecting 'u'), at byte 6`,
		`51-["a",{"_placeholder":true,"num":1}]`: `illegal placeholder: number 1 of 1 attachments, at byte 8`,
	} {
		_, err := decode(Limits{}, text, nil)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestPlaceholder_TwoMembers(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]int{
		`{"_placeholder":true,"num":0}`:                     0,
		`{"num":7,"_placeholder":true}`:                     7,
		" {\n\"_placeholder\" :\ttrue , \"num\" : 12 \r} ":  12,
		`{"\u005fplaceholder":true,"\u006e\u0075\u006D":1}`: 1,
		`{"_placeholder":true,"num":999999999}`:             999999999,
		`{"_placeholder":true,"num":1000000000}`:            -1,
		`{"_placeholder":true,"num":01}`:                    -1,
		`{"_placeholder":true,"num":1e0}`:                   -1,
		`{"_placeholder":true,"num":-1}`:                    -1,
		`{"_placeholder":true,"num":0} x`:                   -1,
		`{"_placeholder":true,"num":0,"x":1}`:               -1,
		`{"_placeholder":false,"num":0}`:                    -1,
		`{"_placeholder":trueish,"num":0}`:                  -1,
		`{"_placeholder":true}`:                             -1,
		`{"num":0,"num":0}`:                                 -1,
		`{"_Placeholder":true,"num":0}`:                     -1,
		`[{"_placeholder":true,"num":0}]`:                   -1,
		`"{\"_placeholder\":true,\"num\":0}"`:               -1,
		`{}`:                                                -1, `{`: -1, `{"`: -1, `{"num"`: -1, `{"num":`: -1, ``: -1, `null`: -1, `{"_placeholder":true,`: -1,
	} {
		num, ok := Placeholder([]byte(raw))
		if ok != (want >= 0) || ok && num != want {
			t.Errorf("%s: %d, %v", raw, num, ok)
		}
	}
}

func TestPlaceholder_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range []int{0, 1, 9, 10, 123456789} {
		num, ok := Placeholder(AppendPlaceholder(nil, want))
		if !ok || num != want {
			t.Errorf("%d: %d, %v", want, num, ok)
		}
	}
}

func TestPlaceholder_PlainPacket_IsData(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`2["a",{"_placeholder":true,"num":5}]`,
		`51-["a",{"_placeholder":false,"num":5},{"_placeholder":1},"_placeholder",{"x":"_placeholder\":true"},{"_placeholder":true,"num":0}]`,
		`51-["_placeholder",true,{"_placeholder":true,"num":0}]`,
	} {
		if _, err := decode(Limits{}, text, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
