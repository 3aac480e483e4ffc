package socketio

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
)

// history returns the event that a socket receives for a record of kind History, by which it
// joined a room. In reports which rooms the socket was in before. It has the offset of the
// record: a client that has it has everything up to there.
func (s *Socket) history(ctx context.Context, d *adapter.Delivery, in func(room string) bool) (*delivery, error) {
	server := s.namespace.server
	select {
	case server.historyPermits <- struct{}{}:
		defer func() { <-server.historyPermits }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	q, err := d.HistoryRequest()
	if err != nil {
		return nil, err // it was decoded before the socket joined the room
	}
	b := historyBuilder{HistoryRequest: q, namespace: d.Namespace, in: in}
	past := server.opts.Adapter.ReadRoom(ctx, d.Namespace, q.Room, d.Offset.Position-1)
	read := 0
	for e, err := range past {
		switch {
		case errors.Is(err, adapter.ErrTrimmed):
			return b.event(d, false)
		case err != nil:
			return nil, err
		case q.Since > 0 && e.At.UnixMilli() < q.Since:
			return b.event(d, true)
		}
		if read += e.Size(); read > server.opts.History.ReadBytes || !b.add(e.Envelope) {
			return b.event(d, false)
		}
		if q.Last > 0 && len(b.events) == q.Last {
			return b.event(d, true)
		}
	}
	return b.event(d, true)
}

// A historyBuilder gathers the events of a history, the newest first.
type historyBuilder struct {
	adapter.HistoryRequest

	namespace string
	in        func(room string) bool // the rooms that the socket is in

	events      []*adapter.Envelope
	bytes       int
	attachments int
	ambiguous   bool // some event has data that looks like the placeholder of an attachment
}

// add adds the next record if the history contains it. It returns false if a limit leaves no
// room for it.
func (b *historyBuilder) add(e *adapter.Envelope) bool {
	if !b.contains(e) {
		return true
	}
	b.bytes += len(e.Payload) + 1
	for _, a := range e.Attachments {
		b.bytes += len(a)
	}
	b.attachments += len(e.Attachments)
	// In a packet with attachments clients take such data for one of them. It is allowed in
	// an event without.
	b.ambiguous = b.ambiguous || len(e.Attachments) == 0 && packet.HasPlaceholder(e.Payload)
	if len(b.events) >= b.Most || b.bytes > b.Bytes || b.attachments > maxEmitAttachments || b.ambiguous && b.attachments > 0 {
		return false
	}
	b.events = append(b.events, e)
	return true
}

func (b *historyBuilder) contains(e *adapter.Envelope) bool {
	return e.Kind == adapter.Event && e.Namespace == b.namespace && slices.Contains(e.Audience.Rooms, b.Room) &&
		!e.Audience.ExcludesFunc(func(room string) bool { return room == b.Room || b.in(room) }) &&
		(len(b.Only) == 0 || slices.Contains(b.Only, eventName(e.Payload)))
}

// eventName returns the name of an event from its payload.
func eventName(payload []byte) string {
	if rest, ok := bytes.CutPrefix(payload, []byte(`["`)); ok { // as this program encodes it
		if end := bytes.IndexAny(rest, `"\`); end >= 0 && rest[end] == '"' {
			return string(rest[:end])
		}
	}
	return eventIn(payload)
}

// event returns the history.
func (b *historyBuilder) event(d *adapter.Delivery, complete bool) (*delivery, error) {
	name, err := marshalJSON(b.Event)
	if err != nil {
		return nil, err
	}
	room, err := marshalJSON(b.Room)
	if err != nil {
		return nil, err
	}
	p := make([]byte, 0, b.bytes+len(name)+len(room)+64)
	p = append(append(append(p, '['), name...), `,{"room":`...)
	p = append(append(p, room...), `,"events":[`...)
	var attachments [][]byte
	for i, e := range slices.Backward(b.events) {
		p = packet.AppendRenumbered(p, e.Payload, len(e.Attachments), len(attachments))
		attachments = append(attachments, e.Attachments...)
		if i > 0 {
			p = append(p, ',')
		}
	}
	p = append(p, `],"complete":`...)
	p = append(strconv.AppendBool(p, complete), "}]"...)
	return &delivery{offset: d.Offset, Envelope: &adapter.Envelope{
		Kind: adapter.Event, Namespace: d.Namespace, Payload: p, Attachments: attachments,
	}}, nil
}
