package boundary

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// maxLines bounds the lines that wait for a slow or blocked handler. Half of it is
// reserved for lines above Debug.
const maxLines = 1024

// A Log passes lines to a logger of the application, whose handler is user code.
// Lines may be logged while a lock is held: the handler runs in another goroutine,
// one line at a time, in order. The goroutine exists while lines wait.
//
// Lines above Debug are limited to a rate per second for each message text. The next
// line after suppressed ones has their number.
type Log struct {
	*slog.Logger

	to      slog.Handler
	rate    int // lines of a kind per second; negative: no limit
	dropped atomic.Uint64
	debug   atomic.Bool  // whether the handler was enabled for Debug at asked
	asked   atomic.Int64 // a time in nanoseconds

	mu      sync.Mutex
	kinds   map[string]*kind
	waiting []line
	missed  int           // lines dropped because the queue was full
	idle    chan struct{} // closed when no line waits; nil while no line waits
}

// A kind counts the lines of one message text in the second that began at since.
type kind struct {
	since      time.Time
	lines      int
	suppressed int
}

type line struct {
	ctx    context.Context //nolint:containedctx // slog passes it to the handler
	to     slog.Handler
	record slog.Record
	ask    bool // not a line: call Enabled for Debug
}

// NewLog returns a Log for the logger. If the logger belongs to a Log, it returns that.
func NewLog(to *slog.Logger, rate int) *Log {
	if h, ok := to.Handler().(*handler); ok {
		return h.log
	}
	l := &Log{to: to.Handler(), rate: rate, kinds: make(map[string]*kind)}
	l.Logger = slog.New(&handler{log: l, to: l.to})
	l.deliver([]line{{ctx: context.Background(), ask: true}})
	return l
}

// Dropped returns the number of lines that were dropped, or that the handler failed to
// handle.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Flush waits until no line waits, or ctx ends.
func (l *Log) Flush(ctx context.Context) {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// push queues a line, or drops it if the queue is full.
func (l *Log) push(n line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	places := maxLines
	if n.record.Level < slog.LevelInfo {
		places /= 2
	}
	switch {
	case n.ask:
	case !l.admitLocked(&n.record):
		l.dropped.Add(1)
		return
	case len(l.waiting) >= places:
		l.missed++
		l.dropped.Add(1)
		return
	}
	l.waiting = append(l.waiting, n)
	if l.idle == nil {
		l.idle = make(chan struct{})
		go l.work() // owner: the log; ends when no line waits
	}
}

// admitLocked reports whether the rate allows the line.
func (l *Log) admitLocked(r *slog.Record) bool {
	if l.rate < 0 || r.Level < slog.LevelInfo {
		return true
	}
	k, ok := l.kinds[r.Message]
	if !ok {
		k = &kind{}
		l.kinds[r.Message] = k
	}
	if now := time.Now(); now.Sub(k.since) >= time.Second {
		k.since, k.lines = now, 0
	}
	if k.lines == l.rate {
		k.suppressed++
		return false
	}
	k.lines++
	if k.suppressed > 0 {
		*r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", k.suppressed))
		k.suppressed = 0
	}
	return true
}

func (l *Log) work() {
	for {
		l.mu.Lock()
		batch, missed := l.waiting, l.missed
		l.waiting, l.missed = nil, 0
		if len(batch) == 0 {
			close(l.idle)
			l.idle = nil
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if missed > 0 {
			r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped: the handler is too slow", 0)
			r.AddAttrs(slog.Int("lines", missed))
			batch = append(batch, line{ctx: context.Background(), to: l.to, record: r})
		}
		l.deliver(batch)
	}
}

// deliver calls the handler.
func (l *Log) deliver(batch []line) {
	All(batch, func(n line) {
		if n.ask {
			l.asked.Store(time.Now().UnixNano())
			l.debug.Store(l.to.Enabled(n.ctx, slog.LevelDebug))
			return
		}
		if n.to.Enabled(n.ctx, n.record.Level) {
			if err := n.to.Handle(n.ctx, n.record); err != nil {
				l.dropped.Add(1)
			}
		}
	}, func(line, error) { l.dropped.Add(1) }) // an error cannot be logged
}

// wantsDebug returns whether the handler was enabled for Debug at the last check. While
// lines are logged, that is at most a second ago.
func (l *Log) wantsDebug() bool {
	now, asked := time.Now().UnixNano(), l.asked.Load()
	if now-asked > int64(time.Second) && l.asked.CompareAndSwap(asked, now) {
		l.push(line{ctx: context.Background(), ask: true})
	}
	return l.debug.Load()
}

// A handler is the slog.Handler of a Log.
type handler struct {
	log *Log
	to  slog.Handler
}

// Enabled implements slog.Handler. Above Debug it returns true, and the application's
// handler decides when it receives the line.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.log.wantsDebug()
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.log.push(line{ctx: ctx, to: h.to, record: r})
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func() slog.Handler { return h.to.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return h.with(func() slog.Handler { return h.to.WithGroup(name) })
}

func (h *handler) with(make func() slog.Handler) slog.Handler {
	to := h.to
	if err := Do(func() { to = make() }); err != nil {
		to = h.to
	}
	return &handler{log: h.log, to: to}
}
