package pgadapter

import (
	"context"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A readCache shares reads of the log below recentBatches: when a node is killed or has
// just started, many clients return from about the same position, and each would
// otherwise read the same range from Postgres. One query at a time reads a range. A cached
// range is complete, because the node has read past its end.
type readCache struct {
	maxBytes int

	mu      sync.Mutex
	entries map[idRange]*cacheEntry
	bytes   int
}

// cacheTTL is how long an entry is kept after its last use.
const cacheTTL = 10 * time.Second

// idRangeAfter returns the range of the cache that begins at or before the batch after
// from, limited to the batches below low.
func idRangeAfter(from, low adapter.Position) idRange {
	after := (batchID(from+1) - 1) / readBatches * readBatches
	return idRange{after, min(after+readBatches, batchID(low))}
}

// A cacheEntry is the result of reading one range.
type cacheEntry struct {
	logRange

	err  error
	done chan struct{} // closed when logRange and err are set

	bytes int       // guarded by the mutex of the cache, like used
	used  time.Time // time of the last get
}

// get returns a range, which read reads if it is not cached. When ctx ends first, get
// returns its cause.
func (s *readCache) get(ctx context.Context, of idRange, read func() (logRange, error)) (logRange, error) {
	s.mu.Lock()
	p, ok := s.entries[of]
	if !ok {
		p = &cacheEntry{done: make(chan struct{})}
		s.entries[of] = p
		go s.fill(of, p, read) // ends with the query, which uses the pool of the DB
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
		p.bytes = 1 // for a range without batches
		for _, b := range p.batches {
			p.bytes += b.bytes
		}
		s.bytes += p.bytes
		s.trimLocked(time.Now())
	}
}

// trimLocked removes expired entries, and the least recently used ones beyond maxBytes.
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

// clear removes all entries, because the log may have lost its end or was replaced.
func (s *readCache) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.entries)
	s.bytes = 0
}
