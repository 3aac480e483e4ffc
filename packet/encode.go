package packet

import "strconv"

// AppendText appends the text of the packet to dst. The caller sends the
// attachments after it, each as a binary message.
//
//   - An Event or Ack with attachments is written as its binary relative, and a
//     binary one without as its plain relative, since none may announce zero.
//   - An empty Namespace is "/". Another must begin with a slash and hold no
//     comma; the wire cannot express the rest.
//   - Data is written as it is.
func (p *Packet) AppendText(dst []byte) []byte {
	dst = appendHeader(dst, p.Type, p.Namespace, len(p.Attachments))
	if p.HasID {
		dst = strconv.AppendUint(dst, p.ID, 10)
	}
	return append(dst, p.Data...)
}

// AppendEvent appends the text of an event that asks for no ack: the short way
// for broadcasts, where one encoded args serves many positions in the log.
//
// The args are a JSON array without white space around it, beginning with the
// name of the event. An offset that is not empty becomes one more argument, the
// last: ["a",1] and o1 give ["a",1,"o1"]. It is written without escaping and so
// must be made of characters that JSON strings hold as they are, such as those
// of URL-safe base64.
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
