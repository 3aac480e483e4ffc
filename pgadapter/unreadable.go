package pgadapter

import (
	"fmt"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// An unreadable is the newest batch of the log that this node cannot decode: a later
// version of the program wrote it, or it is damaged. This node treats the log as trimmed up
// to it: a client that needs an earlier event starts a new session.
type unreadable struct {
	mu  sync.Mutex
	log uint32 // the number of the log
	at  adapter.Position
	met time.Time
	err error
}

// note records a batch that cannot be decoded, and returns the error for readers of the
// log.
func (u *unreadable) note(log uint32, m batchPos, reason error) error {
	err := fmt.Errorf("batch %d of the log cannot be decoded, a later version of this program may have written it: %w: %w", m.id, reason, adapter.ErrTrimmed)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.log != log || m.position() > u.at {
		u.log, u.at = log, m.position()
	}
	u.met, u.err = time.Now(), err
	return err
}

// after returns the position after which this node can read the log with the given number.
func (u *unreadable) after(log uint32) adapter.Position {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.log != log {
		return 0
	}
	return u.at
}

// rewind records that the log lost everything after p.
func (u *unreadable) rewind(p adapter.Position) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.at = min(u.at, p)
}

// health returns an error if a batch that cannot be decoded was read within the
// retention.
func (u *unreadable) health(now time.Time, retention time.Duration) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil || elapsed(u.met, now) > retention {
		return nil
	}
	return u.err
}

// readable reports whether a frame has a version that a program with the given newest version reads.
func readable(newest byte, frame []byte) bool {
	return len(frame) > 0 && frame[0] >= oldestFrame && frame[0] <= newest
}
