package pgadapter

import (
	"context"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A readCache has what was read of the log below the node's own memory, for others who
// want the same: when a node is killed, or has just been started, all clients come
// back from about one place, and each by itself would read all that lies between
// from Postgres. Of one part there is one query at a time.
type readCache struct {
	maxBytes int

	mu      sync.Mutex
	entries map[idRange]*cacheEntry
	bytes   int
}

// cacheTTL is how long a part is kept that nobody asks for.
const cacheTTL = 10 * time.Second

// idRangeAfter returns the stretch that has what comes after the position from, as
// far as it lies below low.
func idRangeAfter(from, low adapter.Position) idRange {
	after := (batchID(from+1) - 1) / readBatches * readBatches
	return idRange{after, min(after+readBatches, batchID(low))}
}

// A cacheEntry is the excerpt of a stretch.
type cacheEntry struct {
	logRange

	err  error
	done chan struct{} // closed when these are known

	bytes int       // guarded by the shelf, as is used
	used  time.Time // when it was asked for last
}

// get returns the excerpt of a stretch, and has it read if it is not there. When ctx
// ends first it returns its cause.
func (s *readCache) get(ctx context.Context, of idRange, read func() (logRange, error)) (logRange, error) {
	s.mu.Lock()
	p, ok := s.entries[of]
	if !ok {
		p = &cacheEntry{done: make(chan struct{})}
		s.entries[of] = p
		go s.fill(of, p, read) // owner: the DB, whose connections it takes; ends with the query
	}
	p.used = time.Now()
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.logRange, p.err
	case <-ctx.Done():
		return logRange{}, context.Cause(ctx)
	}
}

func (s *readCache) fill(of idRange, p *cacheEntry, read func() (logRange, error)) {
	p.logRange, p.err = read()
	close(p.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.entries[of] != p: // cleared meanwhile
	case p.err != nil:
		delete(s.entries, of)
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
func (s *readCache) trimLocked(now time.Time) {
	for {
		var oldest idRange
		var found *cacheEntry
		for of, p := range s.entries {
			if p.bytes > 0 && (found == nil || p.used.Before(found.used)) {
				oldest, found = of, p
			}
		}
		if found == nil || s.bytes <= s.maxBytes && now.Sub(found.used) < cacheTTL {
			return
		}
		s.bytes -= found.bytes
		delete(s.entries, oldest)
	}
}

func (s *readCache) trim(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimLocked(now)
}

// clear takes away everything: the log may have lost its end, or be another one.
func (s *readCache) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.entries)
	s.bytes = 0
}
