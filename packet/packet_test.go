package packet

import (
	"reflect"
	"strings"
	"testing"
)

// conversation is a packet and its messages.
type conversation struct {
	name   string
	text   string
	packet Packet
}

// golden are packets in the form in which this package and socket.io-parser encode
// them.
var golden = []conversation{
	{"connect", `0`, Packet{Type: Connect, Namespace: "/"}},
	{"connect with auth", `0{"token":"abc"}`, Packet{Type: Connect, Namespace: "/", Data: []byte(`{"token":"abc"}`)}},
	{"connect to a namespace", `0/admin,`, Packet{Type: Connect, Namespace: "/admin"}},
	{"connect with recovery", `0/admin,{"pid":"p","offset":"o"}`, Packet{
		Type: Connect, Namespace: "/admin", Data: []byte(`{"pid":"p","offset":"o"}`),
	}},
	{"disconnect", `1`, Packet{Type: Disconnect, Namespace: "/"}},
	{"disconnect from a namespace", `1/admin,`, Packet{Type: Disconnect, Namespace: "/admin"}},
	{"event", `2["a",1,{}]`, Packet{Type: Event, Namespace: "/", Data: []byte(`["a",1,{}]`)}},
	{"event named by a number", `2[7,"x"]`, Packet{Type: Event, Namespace: "/", Data: []byte(`[7,"x"]`)}},
	{"event named by nothing", `2[""]`, Packet{Type: Event, Namespace: "/", Data: []byte(`[""]`)}},
	{"event asking for an ack", `21["a"]`, Packet{Type: Event, Namespace: "/", ID: 1, HasID: true, Data: []byte(`["a"]`)}},
	{"event in a namespace", `2/test,["a"]`, Packet{Type: Event, Namespace: "/test", Data: []byte(`["a"]`)}},
	{"event in an odd namespace", `2/a b"?x=1-2/é,0["a"]`, Packet{
		Type: Event, Namespace: `/a b"?x=1-2/é`, HasID: true, Data: []byte(`["a"]`),
	}},
	{"greatest ack id", `39007199254740991[]`, Packet{
		Type: Ack, Namespace: "/", ID: 1<<53 - 1, HasID: true, Data: []byte(`[]`),
	}},
	{"ack", `3123["a",1]`, Packet{Type: Ack, Namespace: "/", ID: 123, HasID: true, Data: []byte(`["a",1]`)}},
	{"ack in a namespace", `3/n,0[null]`, Packet{Type: Ack, Namespace: "/n", HasID: true, Data: []byte(`[null]`)}},
	{"connect error", `4{"message":"no"}`, Packet{Type: ConnectError, Namespace: "/", Data: []byte(`{"message":"no"}`)}},
	{"connect error as text", `4/n,"no"`, Packet{Type: ConnectError, Namespace: "/n", Data: []byte(`"no"`)}},
	{"unescaped text", `2["a","é ` + "\u2028" + ` 😀"]`, Packet{
		Type: Event, Namespace: "/", Data: []byte(`["a","é ` + "\u2028" + ` 😀"]`),
	}},
	{"binary event", `51-["a",{"_placeholder":true,"num":0}]`, Packet{
		Type: BinaryEvent, Namespace: "/", Data: []byte(`["a",{"_placeholder":true,"num":0}]`),
		Attachments: [][]byte{{1, 2, 3}},
	}},
	{"binary event, nested", `52-/n,7["a",{"x":[{"_placeholder":true,"num":0}],"y":{"_placeholder":true,"num":1}}]`, Packet{
		Type: BinaryEvent, Namespace: "/n", ID: 7, HasID: true,
		Data:        []byte(`["a",{"x":[{"_placeholder":true,"num":0}],"y":{"_placeholder":true,"num":1}}]`),
		Attachments: [][]byte{{}, []byte("b")},
	}},
	{"binary ack", `61-/n,7[{"_placeholder":true,"num":0}]`, Packet{
		Type: BinaryAck, Namespace: "/n", ID: 7, HasID: true, Data: []byte(`[{"_placeholder":true,"num":0}]`),
		Attachments: [][]byte{{0xff}},
	}},
}

// decode decodes a packet with a new decoder.
func decode(l Limits, text string, attachments [][]byte) (*Packet, error) {
	d := NewDecoder(l)
	p, err := d.Text([]byte(text))
	for i := 0; p == nil && err == nil && i < len(attachments); i++ {
		p, err = d.Binary(attachments[i])
	}
	return p, err
}

func TestPacket_Golden(t *testing.T) {
	t.Parallel()
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			got, err := decode(Limits{}, g.text, g.packet.Attachments)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, &g.packet) {
				t.Errorf("read %+v, want %+v", got, g.packet)
			}
			if text := string(g.packet.AppendText(nil)); text != g.text {
				t.Errorf("wrote %s, want %s", text, g.text)
			}
		})
	}
}

func TestDecode_OtherSpellings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Packet{
		`0/custom`:        {Type: Connect, Namespace: "/custom"},
		`1/custom`:        {Type: Disconnect, Namespace: "/custom"},
		`0/`:              {Type: Connect, Namespace: "/"},
		`2/,["a"]`:        {Type: Event, Namespace: "/", Data: []byte(`["a"]`)},
		`2007["a"]`:       {Type: Event, Namespace: "/", ID: 7, HasID: true, Data: []byte(`["a"]`)},
		"2[ \"a\" ]\n\t ": {Type: Event, Namespace: "/", Data: []byte(`[ "a" ]`)},
		`2["Connect"]`:    {Type: Event, Namespace: "/", Data: []byte(`["Connect"]`)},
		`2[-1.5e3]`:       {Type: Event, Namespace: "/", Data: []byte(`[-1.5e3]`)},
		`012{}`:           {Type: Connect, Namespace: "/", ID: 12, HasID: true, Data: []byte(`{}`)},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got, err := decode(Limits{}, text, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, &want) {
				t.Errorf("read %+v, want %+v", got, want)
			}
		})
	}
}

func TestEncode_TypeFollowsAttachments(t *testing.T) {
	t.Parallel()
	two := [][]byte{{1}, {2}}
	for want, p := range map[string]Packet{
		`52-["a"]`: {Type: Event, Data: []byte(`["a"]`), Attachments: two},
		`62-0[]`:   {Type: Ack, HasID: true, Data: []byte(`[]`), Attachments: two},
		`2["a"]`:   {Type: BinaryEvent, Data: []byte(`["a"]`)},
		`30[]`:     {Type: BinaryAck, HasID: true, Data: []byte(`[]`)},
		`0{}`:      {Type: Connect, Data: []byte(`{}`), Attachments: two},
	} {
		if got := string(p.AppendText(nil)); got != want {
			t.Errorf("%v with %d attachments: %s, want %s", p.Type, len(p.Attachments), got, want)
		}
	}
}

func TestEncode_Offset_IsLastArgument(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		namespace   string
		attachments int
		args        string
		offset      string
		want        string
	}{
		{"/", 0, `["a",1]`, "o1", `2["a",1,"o1"]`},
		{"/", 0, `["a"]`, "", `2["a"]`},
		{"", 0, `["a"]`, "-_9", `2["a","-_9"]`},
		{"/n", 0, `["a",[]]`, "o1", `2/n,["a",[],"o1"]`},
		{"/n", 1, `["a",{"_placeholder":true,"num":0}]`, "o1", `51-/n,["a",{"_placeholder":true,"num":0},"o1"]`},
	} {
		dst := []byte("kept ")
		got := string(AppendEvent(dst, row.namespace, row.attachments, []byte(row.args), row.offset))
		if got != "kept "+row.want {
			t.Errorf("%s with offset %q: %s, want %s", row.args, row.offset, got, row.want)
		}
	}
}

func TestType_String(t *testing.T) {
	t.Parallel()
	var names []string
	for kind := Connect; kind <= BinaryAck+1; kind++ {
		names = append(names, kind.String())
	}
	want := "CONNECT DISCONNECT EVENT ACK CONNECT_ERROR BINARY_EVENT BINARY_ACK Type(7)"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
