package transport

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 says so; nothing is kept secret by it
	"encoding/base64"
	"io"
	"net/http"
	"strings"
)

// handshake is what the client offers for a WebSocket (RFC 6455, 4.2).
type handshake struct {
	key        string
	protocol   string // the first subprotocol that the client offers, as in the official server
	extensions []extension
}

// readHandshake reads the client's offer, or returns the refusal.
func readHandshake(r *http.Request) (handshake, *refusal) {
	var h handshake
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return h, badHandshake("a body") // its bytes would be read as frames
	}

	if version := strings.Join(r.Header.Values("Sec-Websocket-Version"), ","); version != "13" {
		refused := badHandshake("version")
		if version != "" {
			refused.status = http.StatusUpgradeRequired
			refused.header = http.Header{"Sec-Websocket-Version": {"13"}}
		}
		return h, refused
	}
	h.key = strings.Join(r.Header.Values("Sec-Websocket-Key"), ",")
	if nonce, err := base64.StdEncoding.DecodeString(h.key); err != nil || len(nonce) != 16 {
		return h, badHandshake("key")
	}

	protocols, ok := parseList(r.Header.Values("Sec-Websocket-Protocol"))
	if !ok {
		return h, badHandshake("subprotocols")
	}
	for _, p := range protocols {
		if len(p.params) > 0 {
			return h, badHandshake("subprotocols")
		}
	}
	if len(protocols) > 0 {
		h.protocol = protocols[0].name
	}
	if h.extensions, ok = parseList(r.Header.Values("Sec-Websocket-Extensions")); !ok {
		return h, badHandshake("extensions")
	}
	return h, nil
}

// badHandshake refuses a request for a WebSocket that RFC 6455 does not allow.
func badHandshake(fault string) *refusal {
	refused := badRequest("TRANSPORT_HANDSHAKE_ERROR")
	refused.context["fault"] = fault
	return refused
}

// write writes the answer, after which the connection is a WebSocket. It omits those of
// the given headers that belong to the handshake itself.
func (h *handshake) write(w *bufio.Writer, header http.Header, extension string) error {
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + h.accept() + "\r\n")
	if h.protocol != "" {
		_, _ = w.WriteString("Sec-WebSocket-Protocol: " + h.protocol + "\r\n")
	}
	if extension != "" {
		_, _ = w.WriteString("Sec-WebSocket-Extensions: " + extension + "\r\n")
	}
	_ = header.WriteSubset(w, map[string]bool{
		"Upgrade": true, "Connection": true, "Content-Length": true, "Transfer-Encoding": true,
		"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
	})
	_, _ = w.WriteString("\r\n")
	return w.Flush() // returns the first error of all these writes
}

func (h *handshake) accept() string {
	hash := sha1.New() //nolint:gosec // RFC 6455 says so
	_, _ = io.WriteString(hash, h.key+"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
	return base64.StdEncoding.EncodeToString(hash.Sum(nil))
}

// asksUpgrade reports whether the request asks to make its connection a WebSocket.
// WebSockets over HTTP/2 (RFC 8441) are not supported.
func asksUpgrade(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ProtoMinor >= 1 &&
		hasToken(r.Header.Values("Upgrade"), "websocket") && hasToken(r.Header.Values("Connection"), "upgrade")
}
