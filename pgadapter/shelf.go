package pgadapter

import (
	"context"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A shelf has what was read of the log below the node's own memory, for others who
// want the same: when a node is killed, or has just been started, all clients come
// back from about one place, and each by itself would read all that lies between
// from Postgres. Of one part there is one query at a time.
type shelf struct {
	maxBytes int

	mu    sync.Mutex
	parts map[stretch]*part
	bytes int
}

// shelved is how long a part is kept that nobody asks for.
const shelved = 10 * time.Second

// A stretch is the batches with ids in (after, to]. What is on a shelf is complete:
// the node has had the batch to.
type stretch struct{ after, to int64 }

// stretchAfter returns the stretch that has what comes after the position from, as
// far as it lies below low.
func stretchAfter(from, low adapter.Position) stretch {
	after := (batchID(from+1) - 1) / chunk * chunk
	return stretch{after, min(after+chunk, batchID(low))}
}

// A part is the excerpt of a stretch.
type part struct {
	excerpt

	err  error
	done chan struct{} // closed when these are known

	bytes int       // guarded by the shelf, as is used
	used  time.Time // when it was asked for last
}

// get returns the excerpt of a stretch, and has it read if it is not there. When ctx
// ends first it returns its cause.
func (s *shelf) get(ctx context.Context, of stretch, read func() (excerpt, error)) (excerpt, error) {
	s.mu.Lock()
	p, ok := s.parts[of]
	if !ok {
		p = &part{done: make(chan struct{})}
		s.parts[of] = p
		go s.fill(of, p, read) // owner: the DB, whose connections it takes; ends with the query
	}
	p.used = time.Now()
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.excerpt, p.err
	case <-ctx.Done():
		return excerpt{}, context.Cause(ctx)
	}
}

func (s *shelf) fill(of stretch, p *part, read func() (excerpt, error)) {
	p.excerpt, p.err = read()
	close(p.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.parts[of] != p: // cleared meanwhile
	case p.err != nil:
		delete(s.parts, of)
	default:
		p.bytes = 1 // of a part without batches
		for _, b := range p.batches {
			p.bytes += b.bytes
		}
		s.bytes += p.bytes
		s.trimLocked(time.Now())
	}
}

// trimLocked takes away what nobody has asked for lately, or is too much.
func (s *shelf) trimLocked(now time.Time) {
	for {
		var oldest stretch
		var found *part
		for of, p := range s.parts {
			if p.bytes > 0 && (found == nil || p.used.Before(found.used)) {
				oldest, found = of, p
			}
		}
		if found == nil || s.bytes <= s.maxBytes && now.Sub(found.used) < shelved {
			return
		}
		s.bytes -= found.bytes
		delete(s.parts, oldest)
	}
}

func (s *shelf) trim(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimLocked(now)
}

// clear takes away everything: the log may have lost its end, or be another one.
func (s *shelf) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.parts)
	s.bytes = 0
}
