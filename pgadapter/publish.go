package pgadapter

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// batchBytes is the size from which a batch accepts no further packet. Measured:
// a larger value does not increase the throughput of the log.
const batchBytes = 256 << 10

// lingerBatchSize is the number of packets at which a batch stops lingering: beyond it,
// the cost of the append per packet is negligible.
const lingerBatchSize = 64

// A publisher collects published packets in a batch while the previous batch is in
// flight. One goroutine sends: a node never has two batches in flight, so the order
// is kept across retries.
type publisher struct {
	opts    *Options
	queries *queries
	sealer  *sealer
	origin  int64
	reader  reader // of this node

	conn          *dedicatedConn // of the sending goroutine
	notifyBackoff notifyBackoff  // of the sending goroutine
	unnotified    notifyBudget   // of the sending goroutine
	sent          time.Time      // of the sending goroutine: when the last append began
	outage        outage         // of the sending goroutine

	counters *counters
	retries  atomic.Uint64

	frames atomic.Uint32 // the frame version that is written
	wakeup chan struct{} // signaled when a batch is ready, and by close
	ended  chan struct{} // closed when the sending goroutine has returned
	cancel context.CancelFunc

	mu             sync.Mutex
	queue          []*pendingBatch // oldest first; the last one still accepts packets
	latest         *pendingBatch   // the newest batch, queued or in flight
	packets, frame int             // size of the batch that was taken last
	events         int             // queued and in flight
	bytes          int             // size of these events
	space          chan struct{}   // closed when space is released; nil if no caller waits
	closed         bool
}

// A pendingBatch is a batch that is not in the log yet. Its fields are guarded by the
// mutex of the publisher until it is taken, and then belong to the sending goroutine.
type pendingBatch struct {
	outcome   *adapter.Outcome
	frame     []byte
	ends      []int         // where each packet ends in the frame
	sizes     []int         // size of each packet as counted by QueueBytes; -1: withdrawn
	live      int           // packets that were not withdrawn
	localOnly []func() bool // of the local-only packets, see adapter.Envelope
	remote    bool          // some packet is not local-only
	noLinger  bool          // some packet must not linger
	awaited   bool          // a caller waits for the outcome
	traces    []string      // the contexts of the packets, for Options.TraceAppend; at most maxTraces
	taken     bool
	completed chan struct{} // closed after the outcome is known; that of a receipt may be closed earlier, by Withdraw
}

func newPublisher(o *Options, q *queries, s *sealer, l *dedicatedConn, r reader) *publisher {
	p := &publisher{
		opts: o, queries: q, sealer: s, reader: r, origin: newIdentity(), conn: l, counters: newCounters(),
		wakeup: make(chan struct{}, 1),
		ended:  make(chan struct{}),
		outage: outage{logger: o.Logger, begins: "batch not appended; retrying until Postgres answers", over: "batches are appended again"},
	}
	p.frames.Store(oldestFrame) // until the first heartbeat returns what the nodes read
	return p
}

// start starts the sending goroutine. It ends when close was called and the queue is
// empty, or close gives up.
func (p *publisher) start() {
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go p.run(ctx)
}

// close refuses further envelopes and waits until the queued ones have an outcome.
// When ctx ends first, their outcome is adapter.ErrClosed, and close returns the cause.
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
			<-p.wakeup // close signals it as well
		case o == nil:
			p.linger(rest)
		case o.live == 0:
			p.complete(o, adapter.Offset{}, adapter.ErrWithdrawn)
		default:
			seq++
			p.sent = time.Now()
			first, err := p.appendTraced(ctx, o, seq)
			p.complete(o, first, err)
		}
	}
}

// linger waits up to d, so that events that no caller waits for share an append. It
// returns early when a packet arrives that must not linger, or a caller waits.
func (p *publisher) linger(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.wakeup:
	}
}

// setFrames sets the frame version that is written.
func (p *publisher) setFrames(version byte) { p.frames.Store(uint32(version)) }

func (p *publisher) publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	e = e.DropInvalidTraceContext()
	size := e.Size()
	if size > p.opts.MaxEnvelope && e.TraceContext != "" { // no event fails because it is traced
		e = e.WithoutTraceContext()
		size = e.Size()
	}
	if size > p.opts.MaxEnvelope {
		return nil, fmt.Errorf("%w: about %d bytes, at most %d", adapter.ErrTooLarge, size, p.opts.MaxEnvelope)
	}
	if !fits(e) {
		return nil, fmt.Errorf("%w: %w", adapter.ErrTooLarge, errNames)
	}
	localOnly := e.LocalOnly != nil && e.LocalOnly()
	for {
		r, space, err := p.enqueue(e, size, localOnly)
		if r != nil || err != nil {
			return r, err
		}
		select {
		case <-space:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", adapter.ErrQueueFull, context.Cause(ctx))
		}
	}
}

// enqueue adds e to the newest batch, or returns a channel that is closed when the
// queue may have space.
func (p *publisher) enqueue(e *adapter.Envelope, size int, localOnly bool) (*adapter.Receipt, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, adapter.ErrClosed
	}
	if p.events >= p.opts.QueueEvents || p.events > 0 && p.bytes+size > p.opts.QueueBytes {
		if p.space == nil {
			p.space = make(chan struct{})
		}
		return nil, p.space, nil
	}
	o := p.gatheringLocked(size)
	index := len(o.ends)
	o.frame = appendPacket(o.frame, e)
	o.ends = append(o.ends, len(o.frame))
	o.sizes = append(o.sizes, size)
	o.live++
	if localOnly {
		o.localOnly = append(o.localOnly, e.LocalOnly)
	} else {
		o.remote = true
	}
	if p.opts.TraceAppend != nil && e.TraceContext != "" && len(o.traces) < maxTraces {
		o.traces = append(o.traces, e.TraceContext)
	}
	o.noLinger = o.noLinger || e.Kind != adapter.Event && e.Kind != adapter.Volatile
	p.events++
	p.bytes += size
	if index == 0 || o.noLinger || index == lingerBatchSize {
		wake(p.wakeup)
	}
	return o.outcome.Receipt(index), nil, nil
}

func (p *publisher) gatheringLocked(size int) *pendingBatch {
	if n := len(p.queue); n > 0 {
		o := p.queue[n-1]
		if len(o.ends) < maxPackets && len(o.frame)+size <= batchBytes {
			return o
		}
	}
	// As large as the previous batch, so that slices do not grow under load.
	o := &pendingBatch{ends: make([]int, 0, p.packets), sizes: make([]int, 0, p.packets)}
	o.outcome = adapter.NewOutcome()
	o.completed = make(chan struct{})
	o.outcome.Withdraw = func(index int) bool { return p.withdraw(o, index) }
	o.outcome.OnAwaited = func() { p.awaited(o) }
	o.frame = append(make([]byte, 0, max(1024, min(p.frame, batchBytes))), byte(p.frames.Load()))
	p.queue = append(p.queue, o)
	p.latest = o
	return o
}

func (p *publisher) withdraw(o *pendingBatch, index int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.taken || o.sizes[index] < 0 {
		return false
	}
	p.releaseLocked(1, o.sizes[index])
	o.sizes[index] = -1
	o.live--
	return true
}

// awaited ends the linger of a batch.
func (p *publisher) awaited(o *pendingBatch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o.awaited = true
	wake(p.wakeup)
}

func (p *publisher) releaseLocked(events, bytes int) {
	p.events -= events
	p.bytes -= bytes
	if p.space != nil {
		close(p.space)
		p.space = nil
	}
}

// take returns the oldest batch if it is due. Otherwise rest is the time until it is
// due, or zero if the queue is empty; over reports that the publisher is closed.
func (p *publisher) take() (o *pendingBatch, rest time.Duration, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil, 0, p.closed
	}
	o = p.queue[0]
	if rest := p.opts.Linger - time.Since(p.sent); rest > 0 && p.mayLingerLocked(o) {
		return nil, rest, false
	}
	p.queue[0] = nil // let the batch be collected
	p.queue = p.queue[1:]
	o.taken = true
	p.packets, p.frame = len(o.ends), len(o.frame)
	return o, 0, false
}

// mayLingerLocked reports whether o may wait for more packets.
func (p *publisher) mayLingerLocked(o *pendingBatch) bool {
	return !p.closed && !o.noLinger && len(p.queue) == 1 && len(o.ends) <= lingerBatchSize && !o.awaited
}

// complete sets the outcome of a batch.
func (p *publisher) complete(o *pendingBatch, first adapter.Offset, err error) {
	p.mu.Lock()
	bytes := 0
	for _, size := range o.sizes {
		bytes += max(size, 0)
	}
	p.releaseLocked(o.live, bytes)
	if p.latest == o {
		p.latest = nil
	}
	p.mu.Unlock()
	o.frame = nil // receipts may outlive the batch
	defer close(o.completed)
	if err != nil {
		o.outcome.Complete(err)
		return
	}
	o.outcome.CompleteAt(first)
}

// flushBarrier waits until everything that was published before the call has an
// outcome.
func (p *publisher) flushBarrier(ctx context.Context) error {
	p.mu.Lock()
	latest := p.latest
	p.mu.Unlock()
	if latest == nil {
		return nil
	}
	p.awaited(latest)
	select {
	case <-latest.completed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// body returns the frame without the packets that were withdrawn.
func (o *pendingBatch) body() []byte {
	if o.live == len(o.ends) {
		return o.frame
	}
	frame := append(make([]byte, 0, len(o.frame)), o.frame[0])
	start := 1 // after the version
	for i, end := range o.ends {
		if o.sizes[i] < 0 {
			frame = appendWithdrawn(frame)
		} else {
			frame = append(frame, o.frame[start:end]...)
		}
		start = end
	}
	return frame
}
