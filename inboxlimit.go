package socketio

import (
	"sync"
	"sync/atomic"

	"github.com/pgsocket/socketio/transport"
)

// A backlog counts the events of one connection that wait for their handlers, are being
// handled, or wait for the log, for all its sockets. While they exceed Options.InboxEvents or
// InboxBytes the connection is not read: that slows the client down, and no event is
// dropped.
type backlog struct {
	session             *transport.Session
	maxEvents, maxBytes int
	all                 *atomic.Int64 // events that wait, of all connections

	mu      sync.Mutex
	waiting int // events
	kept    int // events: those that wait, and those that are not concluded
	bytes   int // of the latter
	full    bool
}

// received counts a new event, which waits.
func (b *backlog) received(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Add(1)
	b.waiting++
	b.kept++
	b.bytes += bytes
	b.pauseLocked()
}

// grew counts bytes of an event that is kept.
func (b *backlog) grew(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes += bytes
	b.pauseLocked()
}

func (b *backlog) pauseLocked() {
	if !b.full && (b.waiting >= b.maxEvents || b.bytes >= b.maxBytes && b.kept > 1) {
		b.full = true
		b.session.Pause()
	}
}

// begun counts an event that does not wait any more.
func (b *backlog) begun() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Add(-1)
	b.waiting--
	b.resumeLocked()
}

// handled removes an event that has begun from the count.
func (b *backlog) handled(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept--
	b.bytes -= bytes
	b.resumeLocked()
}

// dropped removes events that waited from the count.
func (b *backlog) dropped(events, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Add(-int64(events))
	b.waiting -= events
	b.kept -= events
	b.bytes -= bytes
	b.resumeLocked()
}

// resumeLocked resumes reading the connection when half of the backlog is handled, not
// after each event. A single event never pauses it: its handler may wait for an answer
// of the client.
func (b *backlog) resumeLocked() {
	if b.full && b.waiting <= b.maxEvents/2 && (b.bytes <= b.maxBytes/2 || b.kept <= 1) {
		b.full = false
		b.session.Resume()
	}
}
