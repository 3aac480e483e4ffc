package transport_test

import (
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio/transport"
)

// TestForceBase64_WebSocket checks that a client may send binary data as text, and receives it so with b64=1.
func TestForceBase64_WebSocket(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{"": "\x01\x02", "&b64=": "\x01\x02", "&b64=1": "bAQI=", "&b64=0": "bAQI=", "&b64=1&b64=": "\x01\x02"} {
		synctest.Test(t, func(t *testing.T) {
			server, opened := serve(t, nil)
			p := &poller{web: newWeb(t, server), url: "http://server" + wsURL + query}
			s, _ := p.websocket()
			r := <-opened
			s.read() // the handshake
			for sent, got := range map[string]string{"bAQID": "\x01\x02\x03", "bAQ": "\x01", "b-_-_": "\xfb\xff\xbf", "b": "", "b$": ""} {
				s.text(sent)
				if m := <-r.messages; m != "b:"+got {
					t.Errorf("%s: got %q", sent, m)
				}
			}
			_ = r.session.Send(transport.Binary([]byte{1, 2}), transport.Text([]byte("text")))
			s.want(want)
			s.want("4text")
		})
	}
}

// TestForceBase64_AfterAnUpgrade checks that the parameter of the WebSocket request applies.
func TestForceBase64_AfterAnUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		p.url += "&b64=1"
		s, _ := p.websocket()
		s.text("2probe")
		s.want("3probe")
		s.text("5")
		_ = r.session.Send(transport.Binary([]byte{1, 2}))
		s.want("bAQI=")
	})
}

// TestPost_Base64_AsInNode checks base64 with and without padding, of both alphabets, and with other characters.
func TestPost_Base64_AsInNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		p.want(p.post("bAQIDBA==\x1ebAQIDBA\x1ebA-_B\x1ebA Q\nI*D\x1ebAQ==AQ\x1eb"), 200, "ok")
		for _, want := range []string{"\x01\x02\x03\x04", "\x01\x02\x03\x04", "\x03\xef\xc1", "\x01\x02\x03", "\x01", ""} {
			if got := <-r.messages; got != "b:"+want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}
