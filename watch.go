package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// answersTo returns the events that a socket receives for a record with which it joined a room,
// see adapter.Kind.Answers: each but the last without an offset, so that a client that has
// not received all of them receives them again. In reports which rooms the socket was in
// before.
func (s *Socket) answersTo(ctx context.Context, d *adapter.Delivery, in func(room string) bool) ([]*delivery, error) {
	if d.Kind == adapter.Watch {
		return s.presenceList(ctx, d)
	}
	o, err := s.history(ctx, d, in)
	if err != nil {
		return nil, err
	}
	return []*delivery{o}, nil
}

// presenceList returns the events with the members of a presence.
func (s *Socket) presenceList(ctx context.Context, d *adapter.Delivery) ([]*delivery, error) {
	q, err := d.WatchRequest()
	if err != nil {
		return nil, err // it was decoded before the socket joined the room
	}
	topic := recovery.PresenceTopic{Namespace: d.Namespace, PresenceKey: recovery.PresenceKey{Event: q.Event, Room: q.Room}}
	payloads, err := s.namespace.server.presenceLists.read(ctx, topic)
	if err != nil {
		return nil, err
	}
	events := make([]*delivery, len(payloads))
	for i, p := range payloads {
		events[i] = &delivery{
			Envelope: &adapter.Envelope{Kind: adapter.Event, Namespace: d.Namespace, Payload: p},
			offset:   d.Offset, unmarked: i < len(payloads)-1,
		}
	}
	return events, nil
}

// presenceLists reads the lists of presences, each once for all sockets that ask for it before
// the read begins.
type presenceLists struct {
	server *Server

	mu    sync.Mutex
	reads map[recovery.PresenceTopic]*listReads
}

// listReads are the reads of one list.
type listReads struct {
	next *listRead // begins after the one that runs; nil if no socket waits for it
}

// A listRead is one read, whose result is known when done is closed.
type listRead struct {
	done     chan struct{}
	payloads [][]byte
	err      error
}

// read returns the payloads of the events with a list that is read after the call.
func (l *presenceLists) read(ctx context.Context, t recovery.PresenceTopic) ([][]byte, error) {
	l.mu.Lock()
	reads, running := l.reads[t]
	if !running {
		reads = &listReads{}
		if l.reads == nil {
			l.reads = make(map[recovery.PresenceTopic]*listReads)
		}
		l.reads[t] = reads
	}
	if reads.next == nil {
		reads.next = &listRead{done: make(chan struct{})}
	}
	r := reads.next
	if !running {
		l.server.work.start()
		go l.run(t, reads) // ends when no socket waits
	}
	l.mu.Unlock()
	select {
	case <-r.done:
		return r.payloads, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *presenceLists) run(t recovery.PresenceTopic, reads *listReads) {
	defer l.server.work.done()
	for {
		l.mu.Lock()
		r := reads.next
		reads.next = nil
		if r == nil {
			delete(l.reads, t)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		r.payloads, r.err = l.list(t)
		close(r.done)
	}
}

func (l *presenceLists) list(t recovery.PresenceTopic) ([][]byte, error) {
	store, err := l.server.presenceStore()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(l.server.lifetime, l.server.opts.ConnectTimeout, errConnectTimeout)
	defer cancel()
	list, err := store.Announced(ctx, t)
	if err != nil {
		return nil, err
	}
	return listEvents(t, list, &l.server.opts.Presence)
}

// listEvents returns the payloads of the events with a list.
func listEvents(t recovery.PresenceTopic, list recovery.PresenceList, limits *PresenceLimits) ([][]byte, error) {
	event, err := marshalJSON(t.Event)
	if err != nil {
		return nil, err
	}
	room, err := marshalJSON(t.Room)
	if err != nil {
		return nil, err
	}
	parts, err := listParts(list.Members, limits)
	if err != nil {
		return nil, err
	}
	payloads := make([][]byte, len(parts))
	for i, members := range parts {
		var b bytes.Buffer
		b.WriteByte('[')
		b.Write(event)
		b.WriteString(`,{"room":`)
		b.Write(room)
		b.WriteString(`,"version":` + strconv.FormatInt(list.Version, 10))
		b.WriteString(`,"part":` + strconv.Itoa(i+1) + `,"parts":` + strconv.Itoa(len(parts)))
		b.WriteString(`,"members":[`)
		b.Write(members)
		b.WriteString(`]}]`)
		payloads[i] = b.Bytes()
	}
	return payloads, nil
}

// listParts returns the members as JSON, separated by commas, in at least one part.
func listParts(members []recovery.PresenceMember, limits *PresenceLimits) (parts [][]byte, err error) {
	var part []byte
	count := 0
	for _, m := range members {
		member, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		if count > 0 && (count >= limits.ListMembers || len(part)+len(member) > limits.ListBytes) {
			parts, part, count = append(parts, part), nil, 0
		}
		if count > 0 {
			part = append(part, ',')
		}
		part = append(part, member...)
		count++
	}
	return append(parts, part), nil
}
