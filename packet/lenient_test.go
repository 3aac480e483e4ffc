package packet

import "testing"

// TestDecoder_JavaScriptOnlyText checks texts that the official parser accepts.
func TestDecoder_JavaScriptOnlyText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Packet{
		`3[]`:                {Type: Ack, Namespace: "/", Data: []byte(`[]`)},
		`31`:                 {Type: Ack, Namespace: "/", ID: 1, HasID: true},
		`2`:                  {Type: Event, Namespace: "/"},
		`2/n`:                {Type: Event, Namespace: "/n"},
		`4`:                  {Type: ConnectError, Namespace: "/"},
		`1 `:                 {Type: Disconnect, Namespace: "/", HasID: true},
		` {}`:                {Type: Connect, Namespace: "/", Data: []byte(`{}`)},
		`2 ["a"]`:            {Type: Event, Namespace: "/", HasID: true, Data: []byte(`["a"]`)},
		`21 ["a"]`:           {Type: Event, Namespace: "/", ID: 1, HasID: true, Data: []byte(`["a"]`)},
		"2\n 7\u00a0[\"a\"]": {Type: Event, Namespace: "/", ID: 7, HasID: true, Data: []byte(`["a"]`)},
		"2/n,\ufeff[\"a\"]":  {Type: Event, Namespace: "/n", HasID: true, Data: []byte(`["a"]`)},
	} {
		var d Decoder
		p, err := d.Text([]byte(text))
		if err != nil || p.Type != want.Type || p.Namespace != want.Namespace || p.ID != want.ID || p.HasID != want.HasID || string(p.Data) != string(want.Data) || (p.Data == nil) != (want.Data == nil) {
			t.Errorf("%q: got %+v, %v", text, p, err)
		}
	}

	var d Decoder
	if p, err := d.Text([]byte(`5 1 -["a",{"_placeholder":true,"num":0}]`)); p != nil || err != nil {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p, err := d.Binary([]byte{1}); err != nil || p == nil || len(p.Attachments) != 1 {
		t.Errorf("got %+v, %v", p, err)
	}
}
