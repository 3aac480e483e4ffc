// Package msgpack lets packets travel as MessagePack, for clients with
// socket.io-msgpack-parser: one binary message for each packet, binary data in
// its place and not behind it.
//
//	io := socketio.NewServer(&socketio.Options{Parser: msgpack.Parser{}})
//
// All clients of the server have to use it, and the official one does if it is
// told to:
//
//	import parser from "socket.io-msgpack-parser";
//	const socket = io({ parser });
//
// Inside of the server nothing changes: handlers see JSON, the log holds JSON,
// and nodes with either parser share a cluster. So what JSON cannot say arrives
// as what JSON.stringify makes of it: a Date as text, NaN and the infinities as
// null, undefined as null in an array and as no member in an object. Limits are
// those of package packet, that of the attachments included; the JSON of any
// message is bounded by MaxPacketBytes. Refused are an extension type other than
// those of the official parser, a map with keys that are not texts, and a map that
// looks like a placeholder beside binary data.
package msgpack

import "github.com/pgsocket/socketio/packet"

// Parser is the parser, for Options.Parser. It keeps nothing.
type Parser struct{}

// NewDecoder implements packet.Parser.
func (Parser) NewDecoder(l packet.Limits) packet.MessageDecoder {
	return &decoder{packets: packet.NewDecoder(l), limits: l.WithDefaults()}
}
