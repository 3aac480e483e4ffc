package pgadapter

import (
	"fmt"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// An unreadable is the newest batch of the log that this node could not decode: a later
// version of the program wrote it, or it is damaged. For this node the log begins after
// it, as if what is before had been trimmed: a client that would need it starts anew.
type unreadable struct {
	mu  sync.Mutex
	log uint32 // the number of the log
	at  adapter.Position
	met time.Time
	err error
}

// note notes a batch that cannot be decoded for a reason, and returns the error for a
// reader of the log.
func (u *unreadable) note(log uint32, m batchPos, reason error) error {
	err := fmt.Errorf("batch %d of the log cannot be read, a later version of this program may have written it: %w: %w", m.id, reason, adapter.ErrTrimmed)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.log != log || m.position() > u.at {
		u.log, u.at = log, m.position()
	}
	u.met, u.err = time.Now(), err
	return err
}

// after returns the position from which on the log with this number can be read.
func (u *unreadable) after(log uint32) adapter.Position {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.log != log {
		return 0
	}
	return u.at
}

// rewind says that the log was lost after p.
func (u *unreadable) rewind(p adapter.Position) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.at = min(u.at, p)
}

// health returns an error if a batch that cannot be read was met within the time for
// which the log is kept.
func (u *unreadable) health(now time.Time, retention time.Duration) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil || elapsed(u.met, now) > retention {
		return nil
	}
	return u.err
}

// readable reports whether a frame has a version that a program reads which knows those up to newest.
func readable(newest byte, frame []byte) bool {
	return len(frame) > 0 && frame[0] >= oldestFrame && frame[0] <= newest
}
