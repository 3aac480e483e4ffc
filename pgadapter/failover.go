package pgadapter

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// lostEnd reports whether the log no longer has the batch of the cursor, from which r was read:
// it lost its end, and has nothing or another batch there.
func (r *logRead) lostEnd(cursor batchPos) bool {
	return r.origin != cursor.origin || r.seq != cursor.seq
}

// rewind moves the cursor back to the last batch that both the log and this node have,
// after the log lost its end: a standby without it was promoted, or a crash lost commits
// that had not reached the disk. Deliveries continue from there.
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
	if err := conn.QueryRow(ctx, t.queries.common, ids, origins, seqs).Scan(&common); err != nil {
		return err
	}
	if common == 0 {
		return t.restart(ctx, conn, errors.New("the log lost all batches that this node remembers"))
	}

	if _, err := conn.Exec(ctx, t.queries.secretRotate, *t.sealer.secret.Load()); err != nil {
		return err
	}
	if err := t.sealer.refresh(ctx, conn, t.queries); err != nil {
		return err
	}

	last := batches[slices.Index(ids, common)].batchPos // t.recent may have been trimmed meanwhile
	at := last.position()
	t.mu.Lock()
	local := t.local
	t.mu.Unlock()
	if local != nil {
		// Before the fork: a position that is taken on the new timeline must exist there. See reset.
		local.LogTruncated(last.offset(t.sealer.number.Load()))
	}
	t.mu.Lock()
	from := t.cursor
	lost := t.recent.cut(common)
	t.recent.low = min(t.recent.low, at)
	t.cursor = last
	t.acked = min(t.acked, at)
	t.timeline = t.timeline.fork(at)
	t.mu.Unlock()
	t.clearCaches()
	t.unreadable.rewind(at)
	t.lost.truncated(lost, time.Now())
	t.markDelivered(at)
	t.opts.Logger.ErrorContext(ctx, "the log lost delivered batches; continuing after the last one it still has",
		slog.Int64("batch", from.id), slog.Int64("from", common), slog.Int("lost", len(lost)))
	return nil
}

// restart continues from the head of a log that has nothing in common with what was
// delivered.
func (t *tail) restart(ctx context.Context, conn *pgx.Conn, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	h, err := readHead(ctx, t.queries, t.opts.Schema, conn)
	if err != nil {
		return err
	}
	t.sealer.number.Store(h.log)
	t.sealer.set(h.key)
	t.mu.Lock()
	t.acked = min(t.acked, h.pos.position())
	t.mu.Unlock()
	t.reset(h.pos, cause)
	return nil
}

// reset continues after m, with a gap.
//
// As in rewind, the server learns of it before the fork, so that each write of a session is valid whenever it is made: the
// server takes its position, and the store the timeline, in one step of the server. Before LogGap both are of the former
// timeline, and the position is clamped to m when it is written, see timeline.clamp. Between LogGap and the fork the position
// is m at most, which both timelines have. After the fork both are of the new one. In the other order a session that is opened
// in between would get a position of the former timeline that is not clamped, and would miss what the log has before it.
func (t *tail) reset(m batchPos, cause error) {
	at := m.offset(t.sealer.number.Load())
	t.mu.Lock()
	t.recent.reset(max(m.position(), t.cursor.position())) // the server may read at m before the cursor is there
	local := t.local
	t.mu.Unlock()
	t.clearCaches()
	t.opts.Logger.Error("connections are cut, because the log has a gap for their clients", slog.Any("error", cause), slog.Int64("position", int64(at.Position)))
	if local != nil {
		local.LogGap(at, cause)
	}
	t.mu.Lock()
	t.cursor = m
	t.resets++
	t.timeline = t.timeline.fork(m.position())
	t.recent.reset(m.position())
	t.mu.Unlock()
	t.markDelivered(m.position())
}

// reregistered reports to the server that the node lost its sessions, but not its position in
// the log.
func (t *tail) reregistered(cause error) {
	t.mu.Lock()
	t.resets++
	local := t.local
	at := t.cursor.offset(t.sealer.number.Load())
	t.mu.Unlock()
	t.opts.Logger.Error("connections are cut, because other nodes took over their sessions", slog.Any("error", cause))
	if local != nil {
		local.LogGap(at, cause)
	}
}
