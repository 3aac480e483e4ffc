package socketio

import (
	"cmp"
	"context"

	"github.com/pgsocket/socketio/transport"
)

// A replayBuffer keeps live messages during the last part of a replay. It has the bounds of
// the queue of a connection (Options.QueueMessages, QueueBytes): one event counts as a
// quarter of the bytes at most.
type replayBuffer struct {
	events   []bufferedEvent
	messages int
	bytes    int
}

// A bufferedEvent is the messages of one event, and the bytes that they count as.
type bufferedEvent struct {
	messages []*transport.Message
	bytes    int
}

// add buffers an event. It returns false if that would exceed the bounds.
func (c *replayBuffer) add(messages []*transport.Message, o *Options) bool {
	size := 0
	for _, m := range messages {
		size += m.Len()
	}
	e := bufferedEvent{messages, min(size, o.QueueBytes/4)}
	if len(c.events) > 0 && (c.messages+len(messages) > o.QueueMessages || c.bytes+e.bytes > o.QueueBytes) {
		return false
	}
	c.events = append(c.events, e)
	c.messages += len(messages)
	c.bytes += e.bytes
	return true
}

// take removes and returns the oldest events: up to a quarter of the bounds, at least one.
func (c *replayBuffer) take(o *Options) (part []bufferedEvent) {
	messages, bytes, n := 0, 0, 0
	for ; n < len(c.events); n++ {
		e := c.events[n]
		if n > 0 && (messages+len(e.messages) > o.QueueMessages/4 || bytes+e.bytes > o.QueueBytes/4) {
			break
		}
		messages += len(e.messages)
		bytes += e.bytes
	}
	part, c.events = c.events[:n], c.events[n:]
	c.messages -= messages
	c.bytes -= bytes
	return part
}

// flushBuffered sends the buffered messages after the replay, at the pace of the
// connection. Further live messages are buffered until the last part is sent.
func (s *Socket) flushBuffered(ctx context.Context) error {
	for {
		if err := s.drained(ctx); err != nil {
			return err
		}
		part, last, err := s.takeBuffered()
		if last || err != nil {
			return err
		}
		if err := s.sendBuffered(part); err != nil {
			return err
		}
	}
}

// takeBuffered returns the events to send next. It sends the last part itself, under the
// lock under which the socket becomes live, so that no live message overtakes it.
func (s *Socket) takeBuffered() (part []bufferedEvent, last bool, err error) {
	server := s.namespace.server
	server.hub.mu.Lock()
	defer server.hub.mu.Unlock()
	if s.member.state == detached {
		return nil, false, s.departure()
	}
	part = s.member.buffered.take(&server.opts)
	if len(s.member.buffered.events) > 0 {
		return part, false, nil
	}
	s.member.buffered = replayBuffer{}
	if s.member.disconnectedAt == nil {
		s.member.state = live
		return nil, true, s.sendBuffered(part)
	}
	// Not live: a checkpoint would store that the session has the operation that ended it.
	return nil, true, cmp.Or(s.sendBuffered(part), errDisconnectedByOperation)
}

func (s *Socket) sendBuffered(part []bufferedEvent) error {
	for _, e := range part {
		if err := s.conn.session.Send(e.messages...); err != nil {
			return err
		}
	}
	return nil
}
