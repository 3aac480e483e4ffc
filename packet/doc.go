// Package packet is the Socket.IO protocol, revision 5: bytes to [Packet] and
// back. It only computes: no goroutine, no clock, no network, no log.
//
// # Grammar
//
// A text packet is the data of one Engine.IO text message, whose own type
// digit is not seen here:
//
//	<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
//
// The namespace begins with a slash, ends at the first comma or at the end of
// the text, and is left out when it is "/". One line of wire for each type:
//
//	0/chat,{"token":"abc"}                            CONNECT
//	1/chat,                                           DISCONNECT
//	2/chat,12["say","hello"]                          EVENT that asks for ack 12
//	3/chat,12["heard"]                                ACK 12
//	4/chat,{"message":"not authorized"}               CONNECT_ERROR
//	51-["file",{"_placeholder":true,"num":0}]         BINARY_EVENT, one attachment
//	61-12[{"_placeholder":true,"num":0}]              BINARY_ACK, one attachment
//
// The attachments of a binary packet follow it, in order, each a binary
// message of its own. A placeholder says where in the JSON each one belongs.
//
// # Reading and writing
//
// A [Decoder] belongs to one connection and is fed every message of it. It
// returns a packet when the packet is complete, and its promise is that a
// returned packet needs no further check of form: the JSON is valid, is of the
// kind the type demands, and has one placeholder for each attachment.
// [SplitArgs] and [EventName] then take the arguments apart. They do not
// unmarshal; that is left to who knows the types.
//
// [Packet.AppendText] and [AppendEvent] append to a buffer of the caller. They
// check nothing: what they are given was made by this program.
//
// # Who owns memory
//
//   - The bytes given to a Decoder are only read during the call. What must
//     stay is copied, once, and the packet that is returned belongs to the
//     caller alone.
//   - The elements returned by SplitArgs are windows on its input.
//   - The append functions keep nothing of their arguments.
//
// # Limits
//
// A client decides what it sends, so what a packet may cost is bounded by
// [Limits] and by the length of what arrived, never by a number inside it.
// The length of a single message is the transport's limit, not one of these.
//
// # Differences from the JavaScript parser
//
// Everything refused by socket.io-parser 4.2.7 is refused here. These are
// refused too, and oracle_test.go holds the list to be complete:
//
//   - an ack id above 2^53-1, which JavaScript would round to another number;
//   - white space within an ack id, which is NaN in JavaScript, and the empty
//     text, which does not get as far as the parser there;
//   - a count of attachments in any form but decimal digits, such as 0x1;
//   - a placeholder with further members, or a number that is not written as a
//     plain integer, such as 0.5 (JavaScript then hands over undefined) or 1.0;
//   - a second placeholder for one attachment, and an attachment without one,
//     which no JavaScript encoder writes;
//   - a namespace, a nesting or a number of arguments beyond the limits, and text
//     that is not UTF-8.
//
// A binary packet keeps its type, where the JavaScript parser turns it into
// its plain relative, and its placeholders stay in the JSON.
package packet
