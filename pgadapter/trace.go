package pgadapter

import (
	"context"
	"log/slog"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/internal/boundary"
)

// A TraceAppend observes an append to the log, see Options.TraceAppend.
type TraceAppend func(ctx context.Context, contexts []string) (traced context.Context, end func(error))

// maxTraces bounds the contexts that one append is traced with: a span of OpenTelemetry has as many links by default.
const maxTraces = 128

// appendTraced is append, observed by Options.TraceAppend if some of the packets belong to a trace.
func (p *publisher) appendTraced(ctx context.Context, o *pendingBatch, seq int64) (adapter.Offset, error) {
	if len(o.traces) == 0 {
		return p.append(ctx, o, seq)
	}
	var traced context.Context
	var end func(error)
	if !p.observe(ctx, func() { traced, end = p.opts.TraceAppend(ctx, o.traces) }) || end == nil { //nolint:fatcontext // set once
		return p.append(ctx, o, seq)
	}
	first, err := p.append(boundary.WithValues(ctx, traced), o, seq)
	p.observe(ctx, func() { end(err) })
	return first, err
}

// observe calls user code, and reports whether it has returned. It waits no longer than ctx.
func (p *publisher) observe(ctx context.Context, f func()) bool {
	ended := make(chan error, 1)
	go func() { // owner: the publisher, which waits for it unless it is closed; ends with f
		boundary.Then(func() error { f(); return nil }, func(err error, _ bool) { ended <- err })
	}()
	select {
	case err := <-ended:
		if err != nil {
			p.opts.Logger.ErrorContext(ctx, "TraceAppend failed", slog.Any("error", err))
		}
		return err == nil
	case <-ctx.Done():
		return false
	}
}
