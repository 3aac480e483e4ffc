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

// start starts the sending goroutine. It ends when close has been called and the
// queue is empty, or close gives up.
func (p *publisher) start() {
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go p.run(ctx)
}

// close refuses further envelopes and waits until those that are queued have
// their outcome. When ctx ends before, that is adapter.ErrClosed, and close returns
// the cause.
func (p *publisher) close(ctx context.Context) (err error) {
	p.mu.Lock()
	p.closed = true
	if p.space != nil {
		close(p.space)
		p.space = nil
	}
	p.mu.Unlock()
	wake(p.wakeup)
	select {
	case <-p.ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.cancel()
	<-p.ended
	return err
}

func (p *publisher) run(ctx context.Context) {
	defer close(p.ended)
	defer p.conn.drop()
	seq := int64(0)
	for {
		o, rest, over := p.take()
		switch {
		case over:
			return
		case o == nil && rest == 0:
			<-p.wakeup // close rings it as well
		case o == nil:
			p.linger(rest)
		case o.live == 0:
			p.complete(o, adapter.Offset{}, errWithdrawn)
		default:
			seq++
			p.sent = time.Now()
			first, err := p.append(ctx, o, seq)
			p.complete(o, first, err)
		}
	}
}

// linger waits so that events which nobody waits for share an append, until one comes
// that somebody does.
func (p *publisher) linger(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.wakeup:
	}
}

// ErrUnanswered reports that Postgres could not be reached for so long after an
// append without an answer that the append cannot be repeated: the event may be in
// the log, or not. It happens when an outage lasts half of Options.Retention.
var ErrUnanswered = errors.New("append not answered in time; the event may have been emitted")

// maxRefusedFor is for how long a batch is sent again that Postgres refuses each time
// for a reason that may pass, such as a full disk or a server that became a standby.
const maxRefusedFor = 30 * time.Second

// A attempts is whether a batch is in the log, after attempts that failed.
type attempts struct {
	unanswered time.Time // the first time that it may have got there
	refused    time.Time // since when each attempt was refused
}

// failed notes an attempt that failed. It returns for how long each was refused, zero
// if the batch may be in the log.
func (d *attempts) failed(err error, sent bool, began time.Time) time.Duration {
	switch {
	case !isRefusal(err):
		d.refused = time.Time{}
		if sent && d.unanswered.IsZero() {
			d.unanswered = began
		}
		return 0
	case d.refused.IsZero():
		d.refused = began
	}
	if !d.unanswered.IsZero() {
		return 0
	}
	return elapsed(d.refused, time.Now())
}

// append sends a batch until Postgres has answered. The number of the batch makes
// it one batch, however often it is sent, for as long as the log has it: after half
// the retention append gives up on a batch that may be in the log. A batch that is
// certainly not in the log is given up after maxRefusedFor of refusals without a pause.
func (p *publisher) append(ctx context.Context, o *pendingBatch, seq int64) (adapter.Offset, error) {
	frame, packets := o.body(), len(o.ends)
	pause := backoff{low: 10 * time.Millisecond, high: time.Second}
	near := !o.remote && !p.unnotified.exhausted(len(frame))
	ring := p.notifyBackoff.expired()
	var sealed []byte
	if ring && !near {
		var err error
		if sealed, err = p.sealer.seal(p.origin, seq, frame); err != nil {
			return adapter.Offset{}, err
		}
	}
	var d attempts
	first := time.Now()
	for attempt := 1; ; attempt++ {
		if !d.unanswered.IsZero() && elapsed(d.unanswered, time.Now()) > p.opts.Retention/2 {
			return adapter.Offset{}, ErrUnanswered
		}
		began := time.Now()
		h := &handoff{logRow: logRow{batchPos{origin: p.origin, seq: seq, packets: packets}, frame}, localOnly: o.localOnly, sealed: sealed}
		sent, err := p.send(ctx, h, ring, near)
		switch {
		case err == nil:
			if attempt > 1 {
				p.opts.Logger.InfoContext(ctx, "batch appended", slog.Int("attempts", attempt))
			}
			p.counters.appends.Add(time.Since(first).Seconds())
			p.counters.batches.Add(float64(o.live))
			p.acked.Store(int64(h.position()))
			p.announce(h, ring, near)
			log := p.sealer.number.Load()
			return adapter.Offset{Position: position(h.id, 0), Log: log, Check: checkValue(log, p.origin, seq)}, nil
		case ctx.Err() != nil:
			return adapter.Offset{}, adapter.ErrClosed
		case ring && queueFull(err):
			ring = false
			p.notifyBackoff.begin(p.opts.Logger, err)
			continue // it was refused as a whole
		case !isTransient(err):
			return adapter.Offset{}, annotateSchemaErr(p.opts.Schema, err)
		}
		if d.failed(err, sent, began) > min(maxRefusedFor, p.opts.Retention/2) {
			return adapter.Offset{}, fmt.Errorf("append refused, the event is not emitted: %w", err)
		}
		p.notAppended(ctx, attempt, err)
		p.retries.Add(1)
		p.conn.drop()
		pause.wait(ctx) // when ctx ends, the next attempt says so
	}
}

// notAppended logs the first failure of a batch. That an idle connection was closed is none.
func (p *publisher) notAppended(ctx context.Context, attempt int, err error) {
	if attempt == 1 && sqlState(err) != stateIdle {
		p.opts.Logger.WarnContext(ctx, "batch not appended; sending it again until Postgres answers", slog.Any("error", err))
	}
}

// announce says that a batch is in the log to who has not heard the bell.
func (p *publisher) announce(h *handoff, ring, near bool) {
	if ring && !near {
		p.unnotified = notifyBudget{}
		p.reader.appended(nil)
		return
	}
	p.unnotified.batches++
	p.unnotified.bytes += len(h.frame)
	p.reader.appended(h)
}

// send sends a batch once and notes where it is. It reports whether an error leaves
// open if the batch is in the log.
func (p *publisher) send(ctx context.Context, h *handoff, ring, near bool) (sent bool, err error) {
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
	var frames [][]byte
	err = conn.QueryRow(ctx, p.queries.append, h.origin, h.seq, h.packets, h.frame, ring, near, p.reader.has(), h.sealed).
		Scan(&h.id, &ids, &origins, &seqs, &counts, &frames)
	for i, id := range ids {
		h.before = append(h.before, logRow{batchPos{id, origins[i], seqs[i], counts[i]}, frames[i]})
	}
	return !pgconn.SafeToRetry(err), err
}

// A notifyBackoff is a time without bells, after Postgres's queue of notifications was
// found full. The readers look at the log by themselves then.
type notifyBackoff struct {
	until  time.Time
	logged time.Time
}

func (q *notifyBackoff) expired() bool { return q.until.IsZero() || time.Now().After(q.until) }

func (q *notifyBackoff) begin(logger *slog.Logger, err error) {
	now := time.Now()
	q.until = now.Add(time.Second)
	if q.logged.IsZero() || now.Sub(q.logged) >= time.Minute {
		q.logged = now
		logger.Error("appending without NOTIFY: a session that listens and sleeps in a transaction may be filling Postgres's queue of notifications, see pg_notification_queue_usage()", slog.Any("error", err))
	}
}
