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
func (c *readCache) get(ctx context.Context, of idRange, read func() (logRange, error)) (logRange, error) {
	c.mu.Lock()
	e, ok := c.entries[of]
	if !ok {
		e = &cacheEntry{done: make(chan struct{})}
		c.entries[of] = e
		go c.fill(of, e, read) // ends with the query, which uses the pool of the DB
	}
	e.used = time.Now()
	c.mu.Unlock()
	select {
	case <-e.done:
		return e.logRange, e.err
	case <-ctx.Done():
		return logRange{}, context.Cause(ctx)
	}
}

func (c *readCache) fill(of idRange, e *cacheEntry, read func() (logRange, error)) {
	e.logRange, e.err = read()
	close(e.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.entries[of] != e: // cleared meanwhile
	case e.err != nil:
		delete(c.entries, of)
	default:
		e.bytes = 1 // for a range without batches
		for _, b := range e.batches {
			e.bytes += b.bytes
		}
		c.bytes += e.bytes
		c.trimLocked(time.Now())
	}
}

// trimLocked removes expired entries, and the least recently used ones beyond maxBytes.
func (c *readCache) trimLocked(now time.Time) {
	for {
		var oldest idRange
		var found *cacheEntry
		for of, e := range c.entries {
			if e.bytes > 0 && (found == nil || e.used.Before(found.used)) {
				oldest, found = of, e
			}
		}
		if found == nil || c.bytes <= c.maxBytes && now.Sub(found.used) < cacheTTL {
			return
		}
		c.bytes -= found.bytes
		delete(c.entries, oldest)
	}
}

func (c *readCache) trim(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trimLocked(now)
}

// clear removes all entries, because the log may have lost its end or was replaced.
func (c *readCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.bytes = 0
}
