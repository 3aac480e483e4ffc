package socketio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

func TestBinary_IsSentAsAttachment(t *testing.T) {
	t.Parallel()
	type doc struct {
		Name string            `json:"name"`
		Blob Binary            `json:"blob"`
		More map[string]Binary `json:"more,omitempty"`
	}
	hostile := `{"$binary":"AAAA"} \"}`
	p, err := encodeArgs("e", []any{doc{hostile, Binary{0, 255}, map[string]Binary{"k": {}}}, []byte("x"), json.RawMessage(`{"$binary":"!"}`)})
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	want := `["e",{"name":` + string(quoted) + `,"blob":{"_placeholder":true,"num":0},"more":{"k":{"_placeholder":true,"num":1}}},` +
		`{"_placeholder":true,"num":2},{"$binary":"!"}]`
	if string(p.json) != want || fmt.Sprint(p.attachments) != "[[0 255] [] [120]]" {
		t.Fatalf("encoded\n     %s %v\nwant %s", p.json, p.attachments, want)
	}
	var args []json.RawMessage
	if err := json.Unmarshal(p.json, &args); err != nil {
		t.Fatal(err)
	}
	var back doc
	var raw []byte
	if err := decodeArgs(args[1:], p.attachments, []any{&back, &raw}); err != nil {
		t.Fatal(err)
	}
	if back.Name != hostile || fmt.Sprintf("%v %v %s", back.Blob, back.More, raw) != "[0 255] map[k:[]] x" {
		t.Errorf("decoded %+v %s", back, string(raw))
	}
	var text string
	if err := decodeArgs(args[2:], p.attachments, []any{&text}); err == nil {
		t.Errorf("binary data arrived as the text %q", text)
	}
}

func TestBinary_InSocketData(t *testing.T) {
	t.Parallel()
	type value struct{ Blob Binary }
	raw, err := json.Marshal(value{Binary("blob")})
	if err != nil {
		t.Fatal(err)
	}
	var back value
	if err := json.Unmarshal(raw, &back); err != nil || !bytes.Equal(back.Blob, []byte("blob")) {
		t.Errorf("%s came back as %q, %v", raw, back.Blob, err)
	}
}
