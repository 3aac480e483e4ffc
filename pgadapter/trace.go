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
	err := boundary.Do(func() { traced, end = p.opts.TraceAppend(ctx, o.traces) }) //nolint:fatcontext // set once
	p.logTraceFailed(ctx, err)
	if traced == nil || end == nil {
		return p.append(ctx, o, seq)
	}
	first, err := p.append(traced, o, seq)
	p.logTraceFailed(ctx, boundary.Do(func() { end(err) }))
	return first, err
}

func (p *publisher) logTraceFailed(ctx context.Context, err error) {
	if err != nil {
		p.opts.Logger.ErrorContext(ctx, "TraceAppend failed", slog.Any("error", err))
	}
}
