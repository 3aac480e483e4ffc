// Package packet encodes and decodes the packets of the Socket.IO protocol,
// revision 5. It uses no goroutine, clock, network or log.
//
// # Grammar
//
// A text packet is the data of one Engine.IO text message, without the type digit
// of Engine.IO:
//
//	<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
//
// The namespace begins with a slash, ends at the first comma or at the end of
// the text, and is omitted if it is "/". An example of each type:
//
//	0/chat,{"token":"abc"}                            CONNECT
//	1/chat,                                           DISCONNECT
//	2/chat,12["say","hello"]                          EVENT that asks for ack 12
//	3/chat,12["heard"]                                ACK 12
//	4/chat,{"message":"not authorized"}               CONNECT_ERROR
//	51-["file",{"_placeholder":true,"num":0}]         BINARY_EVENT, one attachment
//	61-12[{"_placeholder":true,"num":0}]              BINARY_ACK, one attachment
//
// The attachments of a binary packet follow it, in order, each in its own binary
// message. A placeholder marks the position of each one in the JSON.
//
// # Decoding and encoding
//
// A [Decoder] decodes all messages of one connection. It returns a packet when the
// packet is complete. The form of a returned packet is valid: the JSON is valid, is of
// the kind that the type requires, and has one placeholder for each attachment.
// [SplitArgs] and [EventName] split the arguments. They do not unmarshal them; that
// is left to the caller, who has the types.
//
// [Packet.AppendText] and [AppendEvent] append to a buffer of the caller. They do not
// check their arguments, which come from this program.
//
// # Memory
//
//   - A Decoder reads the bytes of a message only during the call. It copies what it
//     keeps, once; the caller owns the returned packet.
//   - The elements returned by SplitArgs alias its input.
//   - The append functions keep no reference to their arguments.
//
// # Limits
//
// The cost of a packet is bounded by [Limits] and by the length of the received
// messages, never by a number in the packet. The transport limits the length of a
// single message.
//
// # Differences from the JavaScript parser
//
// A text that socket.io-parser 4.2.7 refuses is refused here. The following are
// refused in addition; oracle_test.go checks that the list is complete:
//
//   - an ack id above 2^53-1, which JavaScript would round to another number;
//   - white space within an ack id, which is NaN in JavaScript, and the empty
//     text, which does not reach the JavaScript parser;
//   - a count of attachments in any form other than decimal digits, such as 0x1;
//   - a placeholder with further members, or a number that is not written as a
//     plain integer, such as 0.5 (which JavaScript decodes to undefined) or 1.0;
//   - a second placeholder for one attachment, and an attachment without one,
//     which no JavaScript encoder writes;
//   - a namespace, a nesting or a number of arguments beyond the limits, and text
//     that is not UTF-8.
//
// A binary packet keeps its type, whereas the JavaScript parser changes it to EVENT
// or ACK, and its placeholders stay in the JSON.
package packet
