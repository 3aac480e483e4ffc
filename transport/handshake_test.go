package transport_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio/transport"
)

// TestUpgradeRequest_RFC6455 sends valid and invalid requests for a WebSocket.
func TestUpgradeRequest_RFC6455(t *testing.T) {
	t.Parallel()
	const (
		connection = "Connection: Upgrade\r\n"
		upgrade    = "Upgrade: websocket\r\n"
		key        = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		version    = "Sec-WebSocket-Version: 13\r\n"
		asks       = connection + upgrade + version
		all        = asks + key
		proto      = "Sec-WebSocket-Protocol: "
	)
	for name, row := range map[string]struct {
		request string
		status  int
		header  string // name: value
	}{
		"plain":                     {all, 101, "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		"two Connection lines":      {"Connection: keep-alive\r\n" + all, 101, ""},
		"two Connection lines, 2":   {all + "Connection: keep-alive\r\n", 101, ""},
		"Connection list":           {"Connection: keep-alive, upgrade\r\n" + upgrade + key + version, 101, ""},
		"Upgrade list":              {"Upgrade: h2c, WebSocket\r\n" + connection + key + version, 101, ""},
		"no Connection":             {upgrade + key + version, 400, ""},
		"no Upgrade":                {connection + key + version, 400, ""},
		"no key":                    {asks, 400, ""},
		"short key":                 {asks + "Sec-WebSocket-Key: dGhl\r\n", 400, ""},
		"key that is not base64":    {asks + "Sec-WebSocket-Key: xxxxxxxxxxxxxxxxxxxxxx!=\r\n", 400, ""},
		"two keys":                  {all + key, 400, ""},
		"no version":                {connection + upgrade + key, 400, ""},
		"other version":             {connection + upgrade + key + "Sec-WebSocket-Version: 12\r\n", 426, "Sec-Websocket-Version: 13"},
		"body with a length":        {all + "Content-Length: 9\r\n", 400, ""},
		"chunked body":              {all + "Transfer-Encoding: chunked\r\n", 400, ""},
		"empty body with a length":  {all + "Content-Length: 0\r\n", 101, ""},
		"subprotocol":               {all + proto + "a, b\r\n", 101, "Sec-Websocket-Protocol: a"},
		"subprotocol that is none":  {all + proto + "a b\r\n", 400, ""},
		"extensions that are none":  {all + "Sec-WebSocket-Extensions: =;,,\"\r\n", 400, ""},
		"unknown extension":         {all + "Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n", 101, "Sec-Websocket-Extensions: "},
		"extension with parameters": {all + "Sec-WebSocket-Extensions: a; b=\"c\"; d, permessage-deflate\r\n", 101, "Sec-Websocket-Extensions: " + deflated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, _ := serve(t, &transport.Options{HTTP: transport.HTTP{PerMessageDeflate: true}})
				resp := upgradeWith(t, newWeb(t, server), row.request)
				field, value, _ := strings.Cut(row.header, ": ")
				if resp.StatusCode != row.status || resp.Header.Get(field) != value {
					t.Errorf("got %d %v", resp.StatusCode, resp.Header)
				}
			})
		})
	}
}

// upgradeWith asks for a WebSocket with the headers.
func upgradeWith(t *testing.T, w *web, header string) *http.Response {
	t.Helper()
	conn, err := w.pipes.dial(context.Background(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() { _, _ = io.WriteString(conn, "GET "+wsURL+" HTTP/1.1\r\nHost: test\r\n"+header+"\r\n") }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

const deflated = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// TestUpgradeRequest_DeflateOffers checks that unsupported offers are declined (RFC 7692, 7) without an error.
func TestUpgradeRequest_DeflateOffers(t *testing.T) {
	t.Parallel()
	for offer, want := range map[string]string{
		"permessage-deflate":                                                         deflated,
		"Permessage-Deflate":                                                         deflated,
		"permessage-deflate, permessage-deflate":                                     deflated,
		"permessage-deflate; client_max_window_bits":                                 deflated,
		"permessage-deflate; client_max_window_bits=8":                               deflated,
		`permessage-deflate; client_max_window_bits="15"`:                            deflated,
		"permessage-deflate; server_no_context_takeover":                             deflated,
		"permessage-deflate ; client_no_context_takeover":                            deflated,
		"permessage-deflate; foo":                                                    "",
		"permessage-deflate; foo=1":                                                  "",
		"permessage-deflate; server_max_window_bits":                                 "",
		"permessage-deflate; server_max_window_bits=7":                               "",
		"permessage-deflate; server_max_window_bits=9":                               "",
		"permessage-deflate; client_max_window_bits=16":                              "",
		"permessage-deflate; client_max_window_bits=08":                              "",
		"permessage-deflate; server_no_context_takeover=1":                           "",
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover": "",
		"permessage-deflate; client_max_window_bits; client_max_window_bits":         "",
		"permessage-deflate; server_max_window_bits=9, permessage-deflate":           deflated,
		"permessage-deflate; foo, permessage-deflate; client_max_window_bits":        deflated,
		"permessage-bzip2":                                                           "",
	} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, _ := serve(t, &transport.Options{HTTP: transport.HTTP{PerMessageDeflate: true}})
				resp := upgradeWith(t, newWeb(t, server), strings.TrimPrefix(upgradeRequest, "GET "+wsURL+" HTTP/1.1\r\nHost: test\r\n")+"Sec-WebSocket-Extensions: "+offer+"\r\n")
				if got := resp.Header.Get("Sec-Websocket-Extensions"); resp.StatusCode != http.StatusSwitchingProtocols || got != want {
					t.Errorf("got %d %q", resp.StatusCode, got)
				}
			})
		})
	}
}

// TestUpgradeAnswer_HandshakeHeaders_CannotBeSet checks that an outer handler cannot break the connection with them.
func TestUpgradeAnswer_HandshakeHeaders_CannotBeSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, _ := serve(t, nil)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "7")
			w.Header().Set("Connection", "close")
			w.Header().Set("X-Mine", "a\r\nX-Injected: b")
			server.ServeHTTP(w, r)
		})
		resp := upgradeWith(t, newWeb(t, h), strings.TrimPrefix(upgradeRequest, "GET "+wsURL+" HTTP/1.1\r\nHost: test\r\n"))
		if got := resp.Header; len(got.Values("Connection")) != 1 || got.Get("Content-Length") != "" || got.Get("X-Injected") != "" || got.Get("X-Mine") == "" {
			t.Errorf("got %v", got)
		}
	})
}
