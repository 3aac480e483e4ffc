package pgadapter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// rewind finds the point from which the log differs from what was delivered: a
// standby that lacked the end was promoted, or a crash took back what had been
// committed without waiting for the disk. Deliveries go on from there.
func (t *tail) rewind(ctx context.Context, conn *pgx.Conn) error {
	t.mu.Lock()
	batches := t.recent.after(t.recent.low, len(t.recent.batches))
	t.mu.Unlock()
	ids, origins, seqs := make([]int64, len(batches)), make([]int64, len(batches)), make([]int64, len(batches))
	for i, b := range batches {
		ids[i], origins[i], seqs[i] = b.id, b.origin, b.seq
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var common int64
	if err := conn.QueryRow(ctx, t.db.queries.common, ids, origins, seqs).Scan(&common); err != nil {
		return err
	}
	if common == 0 {
		return t.restart(ctx, conn, errors.New("the log lost everything that this node remembers of it"))
	}

	if _, err := conn.Exec(ctx, t.db.queries.secretRotate, *t.db.sealer.secret.Load()); err != nil {
		return err
	}
	if err := t.db.sealer.refresh(ctx, conn, t.db.queries); err != nil {
		return err
	}

	last := batches[slices.Index(ids, common)].batchPos // memory may have forgotten it meanwhile
	at := last.position()
	t.mu.Lock()
	local := t.local
	t.mu.Unlock()
	if local != nil {
		// Before the branch: whoever takes a position on that takes one that it has.
		local.LogTruncated(last.offset(t.db.number.Load()))
	}
	t.mu.Lock()
	from := t.cursor
	lost := t.recent.cut(common)
	t.recent.low = min(t.recent.low, at)
	t.cursor = last
	t.timeline = t.timeline.fork(at)
	t.mu.Unlock()
	t.cache.clear()
	t.unreadable.rewind(at)
	now := time.Now()
	// What its publisher has not sent again by now was answered, and is lost.
	maps.DeleteFunc(t.dropped, func(_ batchName, lost time.Time) bool { return now.Sub(lost) > t.db.opts.Retention })
	for _, b := range lost {
		t.dropped[batchName{b.origin, b.seq}] = now
	}
	t.db.publisher.lowerAcked(at)
	t.markDelivered(at)
	t.db.opts.Logger.ErrorContext(ctx, "the log lost batches that had been delivered; going on from the last one it still has",
		slog.Int64("batch", from.id), slog.Int64("from", common), slog.Int("lost", len(lost)))
	return nil
}

// restart goes on from the head of a log that has nothing in common with what
// was delivered.
func (t *tail) restart(ctx context.Context, conn *pgx.Conn, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	h, err := t.db.head(ctx, conn)
	if err != nil {
		return err
	}
	t.db.number.Store(h.log)
	t.db.sealer.set(h.key)
	t.db.publisher.lowerAcked(h.pos.position())
	t.reset(h.pos, cause)
	return nil
}

// reset goes on after m, with a hole.
func (t *tail) reset(m batchPos, cause error) {
	t.mu.Lock()
	t.cursor = m
	t.resets++
	t.timeline = t.timeline.fork(m.position())
	t.recent.reset(m.position())
	local := t.local
	at := m.offset(t.db.number.Load())
	t.mu.Unlock()
	t.cache.clear()
	t.db.opts.Logger.Error("connections are cut, because what their clients hold cannot be continued", slog.Any("cause", cause), slog.Int64("position", int64(at.Position)))
	if local != nil {
		local.LogGap(at, cause)
	}
	t.markDelivered(m.position())
}

// reregistered tells the server that it lost its sessions, though not its place in the
// log.
func (t *tail) reregistered(cause error) {
	t.mu.Lock()
	t.resets++
	local := t.local
	at := t.cursor.offset(t.db.number.Load())
	t.mu.Unlock()
	t.db.opts.Logger.Error("connections are cut, because other nodes took over their sessions", slog.Any("cause", cause))
	if local != nil {
		local.LogGap(at, cause)
	}
}

// clamp returns where a position lies that was taken on an earlier branch of the
// log: not after any point at which the branches since then part.
func (b timeline) clamp(p adapter.Position, taken int) int64 {
	for _, j := range b.forks {
		if j.number > taken {
			p = min(p, j.at) // the first of them is the least
			break
		}
	}
	return int64(p)
}

// fork returns the branch that parts from b after the position at.
func (b timeline) fork(at adapter.Position) timeline {
	n := len(b.forks)
	for n > 0 && b.forks[n-1].at >= at {
		n--
	}
	joints := append(slices.Clone(b.forks[:n]), forkPoint{b.number + 1, at})
	if len(joints) > maxForks {
		joints[1].at = joints[0].at
		joints = joints[1:]
	}
	return timeline{b.number + 1, joints}
}

// lowerAcked lowers what is known to be in the log to p.
func (p *publisher) lowerAcked(at adapter.Position) {
	for {
		acked := p.acked.Load()
		if acked <= int64(at) || p.acked.CompareAndSwap(acked, int64(at)) {
			return
		}
	}
}

// evictExpired forgets what is too old, in a tail without traffic too.
func (t *tail) evictExpired(now time.Time) {
	t.cache.trim(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent.trim(now)
}
