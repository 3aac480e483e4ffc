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

// A bufferedEvent is the messages of one event, and the bytes that they count as; or a
// history, which is read and encoded when it is sent.
type bufferedEvent struct {
	messages []*transport.Message
	bytes    int
	history  *pendingHistory
}

// add buffers an event. It returns false if that would exceed the bounds.
func (c *replayBuffer) add(messages []*transport.Message, o *Options) bool {
	size := 0
	for _, m := range messages {
		size += m.Len()
	}
	return c.push(bufferedEvent{messages: messages, bytes: min(size, o.QueueBytes/4)}, o)
}

// addHistory is add for a history.
func (c *replayBuffer) addHistory(p *pendingHistory, o *Options) bool {
	return c.push(bufferedEvent{history: p, bytes: min(o.History.Bytes, o.QueueBytes/4)}, o)
}

func (c *replayBuffer) push(e bufferedEvent, o *Options) bool {
	messages := max(len(e.messages), 1)
	if len(c.events) > 0 && (c.messages+messages > o.QueueMessages || c.bytes+e.bytes > o.QueueBytes) {
		return false
	}
	c.events = append(c.events, e)
	c.messages += messages
	c.bytes += e.bytes
	return true
}

// take removes and returns the oldest events: up to a quarter of the bounds, at least one. A
// history is a part of its own.
func (c *replayBuffer) take(o *Options) (part []bufferedEvent) {
	messages, bytes, n := 0, 0, 0
	for ; n < len(c.events); n++ {
		e := c.events[n]
		more := max(len(e.messages), 1)
		if n > 0 && (e.history != nil || c.events[0].history != nil ||
			messages+more > o.QueueMessages/4 || bytes+e.bytes > o.QueueBytes/4) {
			break
		}
		messages += more
		bytes += e.bytes
	}
	part, c.events = c.events[:n], c.events[n:]
	c.messages -= messages
	c.bytes -= bytes
	return part
}

// flushBuffered sends the buffered messages after the replay, at the pace of the
// connection, for which pace waits. Further live messages are buffered until the last part is
// sent.
func (s *Socket) flushBuffered(ctx context.Context, pace func(context.Context) error) error {
	for {
		if err := pace(ctx); err != nil {
			return err
		}
		part, last, err := s.takeBuffered()
		if last || err != nil {
			return err
		}
		if err := s.sendBuffered(ctx, part); err != nil {
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
	if len(s.member.buffered.events) > 0 || len(part) > 0 && part[0].history != nil {
		return part, false, nil
	}
	s.member.buffered = replayBuffer{}
	if s.member.disconnectedAt == nil {
		s.member.state = live
		return nil, true, s.sendMessagesOf(part)
	}
	// Not live: a checkpoint would store that the session has the operation that ended it.
	return nil, true, cmp.Or(s.sendMessagesOf(part), errDisconnectedByOperation)
}

// sendBuffered sends a part, which may be a history.
func (s *Socket) sendBuffered(ctx context.Context, part []bufferedEvent) error {
	if part[0].history != nil {
		return s.sendHistory(ctx, part[0].history)
	}
	return s.sendMessagesOf(part)
}

func (s *Socket) sendMessagesOf(part []bufferedEvent) error {
	for _, e := range part {
		if err := s.conn.session.Send(e.messages...); err != nil {
			return err
		}
	}
	return nil
}
