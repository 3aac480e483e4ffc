package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// readBatches is how many batches one read returns at most.
const readBatches = 64

// maxID is greater than the id of any batch.
const maxID = 1<<51 - 1

// errLags reports that Postgres does not answer, or that the log grows faster than this node delivers it.
var errLags = errors.New("no answer from Postgres, or the node does not keep up with the log")

var errBound = errors.New("pgadapter: this DB belongs to a server already; open one for each server")

// A tail follows the log. One goroutine owns its connection and, in a loop, waits for
// a notification, reads the batches after the cursor, and delivers them.
type tail struct {
	base
	conn   *dedicatedConn
	sealer *sealer
	hooks  tailHooks

	lost          lostDeliveries // of the goroutine: what it delivered on timelines of the log that were lost
	outboxChecked time.Time      // of the goroutine: when it last checked the outbox
	pendingLocal  []func() bool  // of the goroutine: whether sockets of delivered local-only batches are still here
	keyStale      bool           // of the goroutine: a notification was not sealed with the known key
	keyAsked      time.Time      // of the goroutine: when it last read that key
	echo          echo           // of the goroutine: the self-test of the connection
	pace          pace           // of the goroutine: how much of the log one read asks for
	rows          chan struct{}  // a slot for each concurrent query of Read
	cache         readCache
	backCache     readCache     // of what readBack has read
	done          chan struct{} // closed when the goroutine has returned

	unreadable      unreadable
	connectionsLost atomic.Int64 // number of lost connections

	mu            sync.Mutex
	local         adapter.Local
	cursor        batchPos // the last batch that was delivered, or is being delivered
	recent        recentBatches
	timeline      timeline
	delivered     adapter.Position   // Deliver has returned for everything up to here
	acked         adapter.Position   // the newest position of the publisher of this node that is known to be in the log
	moved         chan struct{}      // closed when delivered changes; nil if no goroutine waits
	handoffs      []*handoff         // oldest first
	newestHandoff int64              // the id of the last handoff, if the next one may follow it
	readRequested bool               // the log must be read
	interrupt     context.CancelFunc // ends the wait for a notification; nil if the goroutine does not wait

	// For Stats.
	following  bool
	unnotified bool // changed by the goroutine: the echo of the connection did not arrive
	caughtUp   time.Time
	notified   time.Time
	resets     uint64
}

// The tailHooks are what a tail calls of the parts that depend on it.
type tailHooks struct {
	// ensureLease returns nil if this node may deliver. Lost reports that other nodes took over its
	// sessions, and that it has registered again, at the given position.
	ensureLease func(ctx context.Context, q querier, at adapter.Position) (lost bool, err error)
	// outboxPending is called when the outbox has events.
	outboxPending func()
	// relayed is called when a batch from the outbox was read.
	relayed func()
}

func newTail(b base, l *dedicatedConn, s *sealer, h tailHooks) *tail {
	o := b.opts
	return &tail{
		base: b, conn: l, sealer: s, hooks: h,
		rows:   make(chan struct{}, max(1, o.MaxConns-4)),
		done:   make(chan struct{}),
		pace:   fullPace(),
		recent: recentBatches{maxBytes: o.TailBytes, maxAge: o.Retention},
		cache:  readCache{maxBytes: o.TailBytes / 4, entries: make(map[idRange]*cacheEntry)},

		backCache: readCache{maxBytes: o.TailBytes / 8, entries: make(map[idRange]*cacheEntry)},
	}
}

// start listens and sets the cursor to the head of the log.
func (t *tail) start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			t.conn.drop() // so that the next attempt listens again
		}
	}()
	conn, err := t.connect(ctx)
	if err != nil {
		return err
	}
	if err := checkSettings(ctx, t.queries, conn); err != nil {
		return err
	}
	h, err := readHead(ctx, t.queries, t.opts.Schema, conn)
	if err != nil {
		return err
	}
	t.outboxChecked = time.Now()
	t.sealer.set(h.key)
	t.cursor = h.pos
	t.delivered = h.pos.position()
	t.recent.low = t.delivered
	t.following, t.caughtUp = true, time.Now()
	return nil
}

func (t *tail) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, fresh, err := t.conn.open(ctx)
	if err != nil {
		return nil, err
	}
	if fresh && !t.opts.PollOnly {
		t.echo = echo{}
		// The channel has the name of the schema, see the SQL function append.
		err = execWithin(ctx, conn, "listen "+pgx.Identifier{t.opts.Schema}.Sanitize())
	}
	return conn, err
}

// execWithin executes a statement, which may take answerTimeout.
func execWithin(ctx context.Context, conn *pgx.Conn, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, sql)
	return err
}

func (t *tail) bind(l adapter.Local) (adapter.Offset, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.local != nil {
		return adapter.Offset{}, errBound
	}
	t.local = l
	return t.cursor.offset(t.sealer.number.Load()), nil
}

// run follows the log until ctx ends.
func (t *tail) run(ctx context.Context) {
	defer close(t.done)
	defer t.conn.drop()
	pause := backoff{low: 50 * time.Millisecond, high: 2 * time.Second}
	reading := outage{logger: t.opts.Logger, begins: "lost the connection that reads the log; reconnecting", over: "log connection restored"}
	for {
		t.evictExpired(time.Now()) // also while Postgres is unavailable
		err := t.follow(ctx, func() {
			t.update(func() { t.following, t.caughtUp = true, time.Now() })
			reading.succeeded(ctx)
			pause.reset()
		})
		if ctx.Err() != nil {
			return
		}
		t.update(func() { t.following = false })
		t.connectionsLost.Add(1)
		reading.failed(ctx, err)
		t.conn.drop()
		pause.wait(ctx)
	}
}

// update changes fields that Stats reads.
func (t *tail) update(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

// follow reads the log on one connection until the connection fails. It calls caughtUp
// each time it has reached the head.
func (t *tail) follow(ctx context.Context, caughtUp func()) error {
	conn, err := t.connect(ctx)
	if err != nil {
		return err
	}
	for {
		t.evictExpired(time.Now())
		// Read before waiting: batches before the LISTEN sent no notification to this connection.
		if err := t.catchUp(ctx, conn); err != nil {
			return err
		}
		caughtUp()
		t.testEcho(ctx)
		if err := t.listen(ctx, conn); err != nil {
			return err
		}
		if conn, err = t.reopened(ctx, conn); err != nil {
			return err
		}
	}
}

// reopened returns conn, or a new connection if idle_session_timeout closed conn between two
// polls; only a connection that listens can disable that timeout.
func (t *tail) reopened(ctx context.Context, conn *pgx.Conn) (*pgx.Conn, error) {
	if !t.opts.PollOnly || t.opts.PollInterval < pingAfter {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if conn.Ping(ctx) == nil {
		return conn, nil
	}
	t.conn.drop()
	return t.connect(ctx)
}

// listen waits until the log must be read. Batches in notifications that directly follow
// the cursor are delivered meanwhile.
func (t *tail) listen(ctx context.Context, conn *pgx.Conn) error {
	wait, cancel := context.WithTimeout(ctx, t.untilNextRead())
	defer cancel()
	for wait.Err() == nil {
		n, err := t.waitNotification(wait, conn)
		if err != nil {
			return err
		}
		if n == nil {
			if on, err := t.takeHandoffs(ctx, conn); !on || err != nil {
				return err
			}
			continue
		}
		if done, err := t.handleNotification(ctx, conn, n); err != nil {
			return err
		} else if done {
			continue
		}
		b, carried := t.parseNotification(n.Payload)
		if b.id > 0 && b.id <= t.cursor.id {
			continue // read from the table meanwhile
		}
		if !carried || b.id != t.cursor.id+1 {
			return nil
		}
		if err := t.deliver(ctx, conn, b); err != nil {
			return err
		}
	}
	return ctx.Err() // nil: the poll interval is over
}

// catchUp reads and delivers everything after the cursor.
func (t *tail) catchUp(ctx context.Context, conn *pgx.Conn) error {
	if err := t.ensureLease(ctx, conn); err != nil {
		return err
	}
	if err := t.drainNotifications(ctx, conn); err != nil {
		return err
	}
	for {
		acked := t.ackedPosition()
		r, err := t.readLog(ctx, conn, idRange{t.cursor.id, maxID}, t.scope(), t.pace)
		t.pace = t.pace.next(err)
		if err != nil {
			return err
		}
		if r.outboxPending {
			t.hooks.outboxPending()
		}
		switch at := t.cursor.position(); {
		case r.log != t.sealer.number.Load():
			err = t.restart(ctx, conn, errors.New("the log was replaced by another one"))
		case at < r.low:
			t.reset(batchPosAt(r.low), fmt.Errorf("this node fell behind the log: %w", adapter.ErrTrimmed))
		case at > r.low && r.lostEnd(t.cursor):
			err = t.rewind(ctx, conn)
		default:
			if err := t.deliverAll(ctx, conn, r.rows); err != nil {
				return err
			}
			if !r.more {
				t.reachedHead(acked)
				return t.notifyIfMoved(ctx, conn)
			}
		}
		if err != nil {
			return err
		}
	}
}

// scope returns what the next read of the log asks for.
func (t *tail) scope() readScope {
	s := readScope(time.Since(t.outboxChecked) >= max(t.poll(), t.opts.RelayInterval))
	if s == withOutbox {
		t.outboxChecked = time.Now()
	}
	return s
}

// poll returns the interval of polls.
func (t *tail) poll() time.Duration {
	if t.unnotified {
		return min(pollOnlyInterval, t.opts.PollInterval)
	}
	return t.opts.PollInterval
}

// untilNextRead returns how long to wait for a notification.
func (t *tail) untilNextRead() time.Duration {
	if t.echo.text != "" && !t.echo.arrived && !t.unnotified {
		return min(t.poll(), max(echoTimeout-time.Since(t.echo.sent), 0)+time.Millisecond)
	}
	return t.poll()
}

func (t *tail) deliverAll(ctx context.Context, conn *pgx.Conn, rows []logRow) error {
	for i, r := range rows {
		log := t.sealer.number.Load()
		b, err := decodeBatch(t.opts.frames, log, r.batchPos, r.frame)
		if err != nil {
			err = t.unreadable.note(log, r.batchPos, err)
			if i+1 == len(rows) || readable(t.opts.frames, rows[i+1].frame) {
				t.reset(r.batchPos, err) // once for a run of unreadable batches
			}
			continue
		}
		b.names = r.names
		b.bytes += len(r.names)
		if err := t.deliver(ctx, conn, b); err != nil {
			return err
		}
	}
	return nil
}

// deliver delivers a batch and moves the cursor past it. It does neither if this
// node may have lost its sessions meanwhile.
func (t *tail) deliver(ctx context.Context, conn *pgx.Conn, b *logBatch) error {
	if err := t.ensureLease(ctx, conn); err != nil {
		return err
	}
	if b.origin == relayedOrigin {
		t.hooks.relayed()
	}
	t.lost.mark(b)
	t.mu.Lock()
	t.cursor = b.batchPos
	t.recent.add(b)
	local := t.local
	t.mu.Unlock()
	if local != nil && len(b.deliveries) > 0 {
		local.Deliver(b.deliveries)
	}
	t.markDelivered(b.position())
	return nil
}

// reachedHead is called at the head of the log, after a read that began when acked was known to be in the log. If it is not
// there, it is the late answer of a server that is not the primary any more: the log has lost it.
func (t *tail) reachedHead(acked adapter.Position) {
	t.mu.Lock()
	at := t.cursor.position()
	lost := t.acked == acked && acked > at
	if lost {
		t.acked = at
	}
	t.mu.Unlock()
	if lost {
		t.markDelivered(at) // wakes those that wait for it
	}
}

func (t *tail) markDelivered(p adapter.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delivered = p
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

// evictExpired removes what is too old from memory, even without traffic.
func (t *tail) evictExpired(now time.Time) {
	t.trimCaches(now)
	t.lost.trim(now, t.opts.Retention)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent.trim(now)
}

// ensureLease returns nil if this node may deliver. If it had lost its sessions, it tells the server.
func (t *tail) ensureLease(ctx context.Context, conn *pgx.Conn) error {
	lost, err := t.hooks.ensureLease(ctx, conn, t.cursor.position())
	if lost {
		t.reregistered(errNodeGone)
	}
	return err
}

// current implements followedLog.
func (t *tail) current() (batchPos, timeline) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cursor, t.timeline
}

// ackedPosition returns the newest position of the publisher of this node that is known to be in the log.
func (t *tail) ackedPosition() adapter.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.acked
}

// position implements followedLog.
func (t *tail) position() adapter.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.delivered
}

// waitDelivered waits until the log up to p has been delivered.
func (t *tail) waitDelivered(ctx context.Context, p adapter.Position) error {
	for {
		t.mu.Lock()
		p = min(p, t.acked) // decreases when the log loses its end
		if t.delivered >= p {
			t.mu.Unlock()
			return nil
		}
		if t.moved == nil {
			t.moved = make(chan struct{})
		}
		moved := t.moved
		t.mu.Unlock()
		select {
		case <-moved:
		case <-t.done:
			return adapter.ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// longestLag is the time without a complete read of the log after which Health fails: reads are
// at most a poll interval apart, and the node goes on for Lease without an answer of Postgres.
func (t *tail) longestLag() time.Duration { return t.opts.PollInterval + t.opts.Lease }

// health returns an error if the log is not followed, not to its end, or only by polling.
func (t *tail) health() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.following:
		return fmt.Errorf("the log has not been read since %v", t.caughtUp.Round(time.Millisecond))
	case elapsed(t.caughtUp, time.Now()) > t.longestLag():
		return fmt.Errorf("the log has not been read to its end for %v: %w", elapsed(t.caughtUp, time.Now()).Round(time.Millisecond), errLags)
	case t.unnotified:
		return fmt.Errorf("the log is only polled, every %v: %w", t.poll(), errNotNotified)
	}
	return nil
}
