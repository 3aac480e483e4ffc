package packet

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for _, g := range golden {
		f.Add([]byte(g.text), []byte("attachment"))
	}
	for _, row := range malformed {
		if len(row.text) < 1000 {
			f.Add([]byte(row.text), []byte{})
		}
	}
	f.Fuzz(func(t *testing.T, text, attachment []byte) {
		p := feed(t, text, attachment)
		if p == nil {
			return
		}
		requireBounded(t, p, len(text), len(attachment))
		requireReadable(t, p)
		again, err := decode(Limits{}, string(p.AppendText(nil)), p.Attachments)
		if err != nil {
			t.Fatalf("%s: cannot be decoded again: %v", p.AppendText(nil), err)
		}
		if !reflect.DeepEqual(p, again) {
			t.Fatalf("%+v was decoded again as %+v", p, again)
		}
	})
}

// feed decodes a text, with the same attachment for all its placeholders.
func feed(t *testing.T, text, attachment []byte) *Packet {
	t.Helper()
	var d Decoder
	before := bytes.Clone(text)
	p, err := d.Text(text)
	if !bytes.Equal(before, text) {
		t.Fatal("the decoder changed the message")
	}
	for d.gathering != nil {
		if p != nil || err != nil {
			t.Fatalf("%v, %v before the last attachment", p, err)
		}
		p, err = d.Binary(attachment)
	}
	if (p == nil) == (err == nil) {
		t.Fatalf("neither a packet nor an error, or both: %v, %v", p, err)
	}
	return p
}

// requireBounded checks that a packet takes no more memory than the messages, plus the
// rounding of the allocator.
func requireBounded(t *testing.T, p *Packet, text, attachment int) {
	t.Helper()
	if cap(p.Data) > text+text/4+64 || len(p.Namespace) > text {
		t.Fatalf("%d bytes of text became %d of data and %d of namespace", text, cap(p.Data), len(p.Namespace))
	}
	if len(p.Attachments) > 10 || cap(p.Attachments) > 16 {
		t.Fatalf("%d attachments, capacity for %d", len(p.Attachments), cap(p.Attachments))
	}
	for _, a := range p.Attachments {
		if cap(a) > attachment {
			t.Fatalf("%d bytes of attachment became %d", attachment, cap(a))
		}
	}
}

// requireReadable checks that EventName and SplitArgs do not fail for a decoded packet,
// and that placeholders have attachments.
func requireReadable(t *testing.T, p *Packet) {
	t.Helper()
	if p.Data == nil {
		return
	}
	if p.Type == Connect || p.Type == ConnectError {
		if !json.Valid(p.Data) {
			t.Fatalf("%s", p.Data)
		}
		return
	}
	args, err := SplitArgs(p.Data, nil)
	if err != nil {
		t.Fatalf("%s: %v", p.Data, err)
	}
	if p.Type.named() {
		name, err := EventName(args[0])
		if err != nil || Reserved(name) {
			t.Fatalf("%s: name %q, %v", p.Data, name, err)
		}
	}
	for _, arg := range args {
		num, ok := Placeholder(arg)
		if ok && p.Type.binary() && num >= len(p.Attachments) {
			t.Fatalf("%s: %d attachments", p.Data, len(p.Attachments))
		}
	}
}

func FuzzSplitArgs(f *testing.F) {
	for _, seed := range []string{`["a",1,{"b":[2]}]`, ` [ ] `, `["\"]",[[],{}]]`, `[,]`, `{"a":1}`, `["\\",null]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := SplitArgs(data, nil)
		var want []json.RawMessage
		if json.Unmarshal(data, &want) != nil || want == nil {
			return // it must not panic
		}
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %q, encoding/json has %q", data, got, want)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%q: %q, encoding/json has %q", data, got, want)
			}
		}
	})
}

func FuzzPlaceholder(f *testing.F) {
	for _, seed := range []string{
		`{"_placeholder":true,"num":0}`, `{ "num" : 12 , "\u005fplaceholder" : true }`, `{"_placeholder":true`, `{"num":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		num, ok := Placeholder(raw)
		if !ok || !json.Valid(raw) {
			return
		}
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		if want := map[string]any{"_placeholder": true, "num": float64(num)}; !reflect.DeepEqual(members, want) {
			t.Fatalf("Placeholder(%q) = %d, true", raw, num)
		}
	})
}
