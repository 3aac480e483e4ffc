// Package msgpack encodes packets as MessagePack, for clients with
// socket.io-msgpack-parser: each packet is one binary message that contains its
// binary data.
//
//	io := socketio.NewServer(&socketio.Options{Parser: msgpack.Parser{}})
//
// All clients of the server have to use it. The official client is configured with:
//
//	import parser from "socket.io-msgpack-parser";
//	const socket = io({ parser });
//
// The server is otherwise unchanged: handlers receive JSON, the log contains JSON, and
// nodes with either parser may share a cluster. Values without a JSON form are received
// as JSON.stringify would encode them: a Date as text, NaN and the infinities as null,
// undefined as null in an array and omitted in an object. The limits are those of package
// packet, including the limit of attachments; MaxPacketBytes bounds the JSON of any
// message. The decoder refuses an extension type other than those of the official parser,
// a map with keys that are not strings, and a map that looks like a placeholder in a
// packet with binary data.
package msgpack

import "github.com/pgsocket/socketio/packet"

// Parser implements packet.Parser, for Options.Parser. It has no state.
type Parser struct{}

// NewDecoder implements packet.Parser.
func (Parser) NewDecoder(l packet.Limits) packet.MessageDecoder {
	return &decoder{packets: packet.NewDecoder(l), limits: l.WithDefaults()}
}
