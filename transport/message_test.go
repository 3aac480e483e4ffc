package transport

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gobwas/ws"
)

// TestMessage_Base64AndCompressed checks a client that asks for both.
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

// TestMessage_AsText_IsMadeOnce checks that clients that ask for base64 share one encoded text.
func TestMessage_AsText_IsMadeOnce(t *testing.T) {
	t.Parallel()
	m := Binary([]byte{1, 2, 3})
	if a, b := m.asText(), m.asText(); a != b || string(a.data()) != "bAQID" {
		t.Errorf("%q, %q", a.data(), b.data())
	}
	if text := Text([]byte("x")); text.asText() != text {
		t.Error("the text was encoded again")
	}
}

// A spy is a ResponseWriter that records its writes.
type spy struct {
	*httptest.ResponseRecorder
	first []byte
}

func (s *spy) Write(p []byte) (int, error) {
	if s.first == nil {
		s.first = p
	}
	return s.ResponseRecorder.Write(p)
}

// TestPoll_LargeMessage_IsNotCopied checks the answer to a polling client that reads slowly.
func TestPoll_LargeMessage_IsNotCopied(t *testing.T) {
	t.Parallel()
	server, err := NewServer(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Message{Text(make([]byte, 1<<20)), Binary(make([]byte, 1<<20))} {
		w := &spy{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		if err := server.answer(w, r).messages(nil, []*Message{m}); err != nil {
			t.Fatal(err)
		}
		if want := m.asText().data(); &w.first[0] != &want[0] || !bytes.Equal(w.Body.Bytes(), want) {
			t.Errorf("%d bytes of %d, or a copy", w.Body.Len(), len(want))
		}
	}
}
