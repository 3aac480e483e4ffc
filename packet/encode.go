package packet

import "strconv"

// AppendText appends the text of the packet to dst. The caller sends the
// attachments after it, each as a binary message.
//
//   - An Event or Ack with attachments is written as BinaryEvent or BinaryAck, and
//     a binary packet without attachments as Event or Ack.
//   - An empty Namespace means "/". Any other must begin with a slash and contain
//     no comma.
//   - Data is written unchanged.
func (p *Packet) AppendText(dst []byte) []byte {
	dst = appendHeader(dst, p.Type, p.Namespace, len(p.Attachments))
	if p.HasID {
		dst = strconv.AppendUint(dst, p.ID, 10)
	}
	return append(dst, p.Data...)
}

// AppendEvent appends the text of an event without an ack id. It serves broadcasts,
// which combine the encoded arguments with an offset.
//
// Args is a JSON array without white space around it, beginning with the name of
// the event. An offset that is not empty becomes the last argument: ["a",1] and o1
// give ["a",1,"o1"]. It is written without escaping, and must therefore consist of
// characters that need no escape in a JSON string, such as those of URL-safe base64.
func AppendEvent(dst []byte, namespace string, attachments int, args []byte, offset string) []byte {
	dst = appendHeader(dst, Event, namespace, attachments)
	return AppendArgs(dst, args, offset)
}

func appendHeader(dst []byte, t Type, namespace string, attachments int) []byte {
	t = t.carrying(attachments)
	dst = append(dst, '0'+byte(t))
	if t.binary() {
		dst = strconv.AppendInt(dst, int64(attachments), 10)
		dst = append(dst, '-')
	}
	if namespace == "" || namespace == "/" {
		return dst
	}
	dst = append(dst, namespace...)
	return append(dst, ',')
}
