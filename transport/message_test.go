package transport

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

// TestMessage_Base64AndCompressed: a client may ask for both.
func TestMessage_Base64AndCompressed(t *testing.T) {
	t.Parallel()
	c := &webSocket{base64: true, deflate: true, pools: new(pools)}
	wire := c.frame(Binary(make([]byte, 3000)))
	h, err := ws.ReadHeader(bytes.NewReader(wire))
	if err != nil || h.OpCode != ws.OpText || !h.Rsv1() || len(wire) > 200 {
		t.Fatalf("%+v, %v, %d bytes", h, err, len(wire))
	}
	b := new(buffer)
	if e := c.pools.inflate(b, wire[ws.HeaderSize(h):], limit); e != nil || len(b.bytes) != 4001 || b.bytes[0] != 'b' {
		t.Fatalf("%d bytes, %v", len(b.bytes), e)
	}
}
