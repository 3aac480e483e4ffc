package pgadapter

import (
	"strings"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// TestEmitPacket_PlaceholdersAndAttachmentsDoNotMatch: official clients close the
// connection at such an event, and receive it again after they reconnect.
func TestEmitPacket_PlaceholdersAndAttachmentsDoNotMatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const zero, one = `{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`
	for payload, attachments := range map[string]int{
		`["x",{"_placeholder":true,"num":9}]`:                           1,
		`["x"]`:                                                         1,
		`["x",` + zero + `]`:                                            2,
		`["x",` + zero + `,` + zero + `]`:                               1,
		`["x",` + zero + `,` + zero + `,` + one + `]`:                   2,
		`["x",` + zero + strings.Repeat(`,`+zero, 30_000) + `]`:         1,
		`["x",` + zero + `,{"a":[{"_placeholder":true,"num":7}]}]`:      1,
		`["x",` + zero + `,{"_placeholder": true, "num":0}]`:            1,
		`["x",` + zero + `,{"\u005fplaceholder":true,"num":0}]`:         1,
		`["x",` + zero + `,{"_place\u0068older":true}]`:                 1,
		`["x",` + zero + `,{"_placeholder":false,"_placeholder":true}]`: 1,
		`["x","{\"_placeholder\":true,\"num\":0}"]`:                     1,
	} {
		if _, err := b.conn.Exec(t.Context(), "select emit_packet($1)", packetOf(payload, attachments)); sqlState(err) != "22023" {
			t.Errorf("%.100s with %d attachments: %v", payload, attachments, err)
		}
	}
	for payload, attachments := range map[string]int{
		`["x",{"_placeholder":true,"num":9}]`:                      0, // data, without attachments
		`["x",` + zero + `]`:                                       1,
		`["x",[` + one + `],{"a":` + zero + `}]`:                   2,
		`["x",` + zero + `,"_placeholder",{"_placeholder":false}]`: 1,
		`["x",` + zero + `,"{\"_placeholder\":true,\"num\":0}"]`:   1,
		`["x",` + zero + `,"\u2028",{"k":"é😀\u0041"}]`:             1,
		`["x",` + zero + `,{"x\"_placeholder":true}]`:              1,
	} {
		if _, err := b.conn.Exec(t.Context(), "select emit_packet($1)", packetOf(payload, attachments)); err != nil {
			t.Errorf("%.100s with %d attachments: %v", payload, attachments, err)
		}
	}
}

func packetOf(payload string, attachments int) []byte {
	e := &adapter.Envelope{Namespace: "/", Payload: []byte(payload)}
	for range attachments {
		e.Attachments = append(e.Attachments, []byte{0xff})
	}
	return appendPacket(nil, e)
}

func TestEmit_ForeignPlaceholderBesideAttachments(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for sql, want := range map[string]string{
		`select emit_all('x', '[[{"_placeholder": true, "num": 0}]]', attachments => '{"\\x00"}')`:        "22023",
		`select emit('a', 'x', args => '[{"a": {"_placeholder": true}}]', attachments => '{"\\x00"}')`:    "22023",
		`select emit_all('x', '[[{"_placeholder": true, "num": 0}]]')`:                                    "",
		`select emit_all('x', '[[{"_placeholder": false}], "_placeholder"]', attachments => '{"\\x00"}')`: "",
	} {
		if _, err := b.conn.Exec(t.Context(), sql); sqlState(err) != want {
			t.Errorf("%s: %v, want %q", sql, err, want)
		}
	}
}

// TestEmitTx_RefusesForeignPlaceholders: the database checks envelopes, whatever code
// created them.
func TestEmitTx_RefusesForeignPlaceholders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tx, err := b.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := &adapter.Envelope{
		Namespace: "/", Payload: []byte(`["x",{"_placeholder":true,"num":9}]`), Attachments: [][]byte{{1}},
	}
	if _, err := EmitTx(t.Context(), tx, e, &EmitOptions{Schema: b.schema}); sqlState(err) != "22023" {
		t.Errorf("emitted: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}
