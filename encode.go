package socketio

import (
	"log/slog"

	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/transport"
)

// This file encodes packets to messages of the transport, and decodes them: in the
// format of the protocol, or in that of Options.Parser.

// messages returns the packet, encoded. The caller holds no lock, because
// Options.Parser is user code.
func (s *Server) messages(p *packet.Packet) ([]*transport.Message, error) {
	if s.opts.Parser == nil {
		return prepare(p.AppendText(nil), p.Attachments), nil
	}
	var encoded []packet.Message
	err := protect(func() (err error) {
		encoded, err = s.opts.Parser.Encode(p)
		return err
	})
	if err != nil {
		return nil, err
	}
	messages := make([]*transport.Message, len(encoded))
	for i, m := range encoded {
		if m.Binary {
			messages[i] = transport.Binary(m.Data)
		} else {
			messages[i] = transport.Text(m.Data)
		}
	}
	return messages, nil
}

func prepare(text []byte, attachments [][]byte) []*transport.Message {
	messages := make([]*transport.Message, 0, 1+len(attachments))
	messages = append(messages, transport.Text(text))
	for _, a := range attachments {
		messages = append(messages, transport.Binary(a))
	}
	return messages
}

// encodeFor returns a record encoded for the socket, once for all sockets that recover
// and once for all others. It returns nil if the parser fails. With Options.Parser, which
// is user code, the caller holds no lock, unless encodedFor has returned true.
func (o *delivery) encodeFor(s *Socket) []*transport.Message {
	if o.unmarked || !s.recovers {
		if o.plain == nil {
			o.plain = o.encode(s.namespace.server, "")
		}
		return o.plain
	}
	if o.messages == nil {
		o.messages = o.encode(s.namespace.server, o.offset.String())
	}
	return o.messages
}

// encodedFor reports whether the record is encoded for the socket already.
func (o *delivery) encodedFor(s *Socket) bool {
	if o.unmarked || !s.recovers {
		return o.plain != nil
	}
	return o.messages != nil
}

// encode returns a record with an offset as one more argument, unless that is "".
func (o *delivery) encode(s *Server, mark string) []*transport.Message {
	if s.opts.Parser == nil {
		size := len(o.Namespace) + len(o.Payload) + len(mark) + 16
		text := packet.AppendEvent(make([]byte, 0, size), o.Namespace, len(o.Attachments), o.Payload, mark)
		return prepare(text, o.Attachments)
	}
	args := packet.AppendArgs(make([]byte, 0, len(o.Payload)+len(mark)+3), o.Payload, mark)
	messages, err := s.messages(&packet.Packet{
		Type: packet.Event, Namespace: o.Namespace, Data: args, Attachments: o.Attachments,
	})
	if err != nil {
		s.opts.Logger.Error("event not encoded", slog.String("namespace", o.Namespace), slog.Any("error", err))
		messages = []*transport.Message{}
	}
	return messages
}

// newDecoder returns the parser's decoder for a connection, or nil.
func (s *Server) newDecoder(l packet.Limits) (d packet.MessageDecoder) {
	if err := boundary.Do(func() { d = s.opts.Parser.NewDecoder(l) }); err != nil {
		s.opts.Logger.Error("parser failed", slog.Any("error", err))
		return nil
	}
	return d
}

// decode decodes one message of the client and returns the packet that it completes,
// or nil.
func (c *conn) decode(data []byte, binary bool) (p *packet.Packet, err error) {
	switch {
	case c.parser != nil:
		// In the reader's goroutine, to save a goroutine per message. If the parser
		// ends it with Goexit the connection is closed, see transport.Receiver.
		boundary.Then(func() error {
			p, err = c.parser.Decode(data, binary)
			return err
		}, func(failed error, _ bool) {
			if boundary.Failed(failed) {
				c.server.opts.Logger.Error("parser failed", slog.Any("error", failed))
				p, err = nil, failed
			}
		})
		return p, err
	case binary:
		return c.decoder.Binary(data)
	default:
		return c.decoder.Text(data)
	}
}
