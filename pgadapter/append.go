package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/adapter"
)

// ErrUnanswered reports that Postgres was unreachable for so long after an append
// without an answer that the append cannot be repeated: the event may or may not be
// in the log. It occurs when an outage lasts half of Options.Retention.
var ErrUnanswered = errors.New("append not answered in time; the event may have been emitted")

// maxRefusedFor is how long a batch is sent again while Postgres refuses every attempt
// for a transient reason, such as a full disk or a server that became a standby.
const maxRefusedFor = 30 * time.Second

// attempts records whether a batch may be in the log after failed attempts.
type attempts struct {
	unanswered time.Time // the first time that it may have been committed
	refused    time.Time // since when every attempt was refused
}

// failed records a failed attempt. It returns for how long every attempt was refused, or
// zero if the batch may be in the log.
func (a *attempts) failed(err error, sent bool, began time.Time) time.Duration {
	switch {
	case !isRefusal(err):
		a.refused = time.Time{}
		if sent && a.unanswered.IsZero() {
			a.unanswered = began
		}
		return 0
	case a.refused.IsZero():
		a.refused = began
	}
	if !a.unanswered.IsZero() {
		return 0
	}
	return elapsed(a.refused, time.Now())
}

// append sends a batch until Postgres answers. The sequence number makes repeated
// attempts idempotent while the log has the batch: after half of the retention, append
// gives up on a batch that may be in the log. It gives up on a batch that is certainly
// not in the log after maxRefusedFor of uninterrupted refusals.
func (p *publisher) append(ctx context.Context, o *pendingBatch, seq int64) (adapter.Offset, error) {
	frame, packets := o.body(), len(o.ends)
	pause := backoff{low: 10 * time.Millisecond, high: time.Second}
	localOnly := !o.remote && !p.unnotified.exhausted(len(frame))
	notify := p.notifyBackoff.expired()
	var sealed []byte
	if notify && !localOnly {
		var err error
		if sealed, err = p.sealer.seal(p.origin, seq, frame); err != nil {
			return adapter.Offset{}, err
		}
	}
	var a attempts
	first := time.Now()
	for attempt := 1; ; attempt++ {
		if !a.unanswered.IsZero() && elapsed(a.unanswered, time.Now()) > p.opts.Retention/2 {
			return adapter.Offset{}, ErrUnanswered
		}
		began := time.Now()
		h := &handoff{logRow: logRow{batchPos: batchPos{origin: p.origin, seq: seq, packets: packets}, frame: frame}, localOnly: o.localOnly, sealed: sealed}
		sent, err := p.send(ctx, h, notify, localOnly)
		switch {
		case err == nil:
			p.outage.succeeded(ctx)
			p.counters.appends.Add(time.Since(first).Seconds())
			p.counters.batches.Add(float64(o.live))
			p.announce(h, notify, localOnly)
			log := p.sealer.number.Load()
			return adapter.Offset{Position: position(h.id, 0), Log: log, Check: checkValue(log, p.origin, seq)}, nil
		case ctx.Err() != nil:
			return adapter.Offset{}, adapter.ErrClosed
		case notify && queueFull(err):
			notify = false
			p.notifyBackoff.begin(p.opts.Logger, err)
			continue // the whole append was refused
		case !isTransient(err):
			return adapter.Offset{}, annotateSchemaErr(p.opts.Schema, err)
		}
		if a.failed(err, sent, began) > min(maxRefusedFor, p.opts.Retention/2) {
			return adapter.Offset{}, fmt.Errorf("append refused, the event is not emitted: %w", err)
		}
		p.notAppended(ctx, attempt, err)
		p.retries.Add(1)
		p.conn.drop()
		pause.wait(ctx) // when ctx ends, the next attempt returns
	}
}

// notAppended records a failure, unless Postgres closed an idle connection.
func (p *publisher) notAppended(ctx context.Context, attempt int, err error) {
	if attempt > 1 || sqlState(err) != stateIdle {
		p.outage.failed(ctx, err)
	}
}

// announce wakes the reader of this node: with the batch if Postgres sent no notification.
func (p *publisher) announce(h *handoff, notify, localOnly bool) {
	if notify && !localOnly {
		p.unnotified = notifyBudget{}
		p.reader.appended(h.position(), nil)
		return
	}
	p.unnotified.batches++
	p.unnotified.bytes += len(h.frame)
	p.reader.appended(h.position(), h)
}

// send sends a batch once and sets its id. It reports whether the batch may be in the
// log despite an error.
func (p *publisher) send(ctx context.Context, h *handoff, notify, localOnly bool) (sent bool, err error) {
	conn, fresh, err := p.conn.open(ctx)
	if err == nil && fresh {
		err = p.sealer.refresh(ctx, conn, p.queries)
	}
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var ids, origins, seqs []int64
	var counts []int
	var frames, names [][]byte
	err = conn.QueryRow(ctx, p.queries.append, h.origin, h.seq, h.packets, h.frame, notify, localOnly, p.reader.has(), h.sealed).
		Scan(&h.id, &ids, &origins, &seqs, &counts, &frames, &names)
	for i, id := range ids {
		h.before = append(h.before, logRow{batchPos{id, origins[i], seqs[i], counts[i]}, frames[i], names[i]})
	}
	return !pgconn.SafeToRetry(err), err
}

// A notifyBackoff is a period without notifications, after the notification queue of
// Postgres was full. Readers then find batches by polling.
type notifyBackoff struct {
	until  time.Time
	logged time.Time
}

func (b *notifyBackoff) expired() bool { return b.until.IsZero() || time.Now().After(b.until) }

func (b *notifyBackoff) begin(logger *slog.Logger, err error) {
	now := time.Now()
	b.until = now.Add(time.Second)
	if b.logged.IsZero() || now.Sub(b.logged) >= time.Minute {
		b.logged = now
		logger.Error("appending without NOTIFY: the notification queue of Postgres is full, see pg_notification_queue_usage(); a session that listens inside a transaction may block it", slog.Any("error", err))
	}
}
