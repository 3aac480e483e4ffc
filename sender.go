package socketio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A Publisher appends to the log. Every adapter.Adapter is one.
type Publisher interface {
	Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error)
}

// A sender publishes emits to the log, and delivers local ones to the sockets of the
// server, if there is one.
type sender struct {
	log     Publisher
	timeout time.Duration // Options.EmitTimeout
	server  *Server       // nil for an Emitter
	tracing *tracing      // nil without a Tracer
}

var (
	errEmitTimeout = errors.New("no room within Options.EmitTimeout")
	errNoServer    = errors.New("an Emitter has no sockets of its own and receives no answers")
)

// emit publishes an event and waits until it is in the log.
func (r route) emit(ctx context.Context, e *adapter.Envelope) error {
	if r.nobody() {
		return nil
	}
	ctx, span := r.startPublish(ctx, SpanEmit, e)
	if r.local {
		err := r.emitLocal(e)
		span.end(err)
		return err
	}
	at, err := r.publish(ctx, e, !r.volatile)
	span.endAt(at.Position, err)
	return err
}

// publish publishes an envelope, and waits for its offset in the log if asked to.
func (r route) publish(ctx context.Context, e *adapter.Envelope, wait bool) (adapter.Offset, error) {
	receipt, err := r.log.Publish(ctx, e)
	if err != nil || !wait {
		return adapter.Offset{}, err
	}
	return awaitAppend(ctx, receipt)
}

// awaitAppend waits until an envelope is in the log. When ctx ends before, it withdraws the
// envelope if that has not been sent yet.
func awaitAppend(ctx context.Context, receipt *adapter.Receipt) (adapter.Offset, error) {
	err := receipt.Wait(ctx)
	if err == nil || ctx.Err() == nil {
		return receipt.Offset(), err
	}
	if receipt.Withdraw() {
		return adapter.Offset{}, fmt.Errorf("not emitted: %w", err)
	}
	return adapter.Offset{}, fmt.Errorf("may still be emitted: %w", err)
}

func (r route) emitLocal(e *adapter.Envelope) error {
	if r.server == nil {
		return errNoServer
	}
	r.server.hub.deliverLocal(e)
	return nil
}

func (r route) emitAsync(e *adapter.Envelope) *Receipt {
	if r.nobody() {
		return adapter.Completed(nil)
	}
	ctx, span := r.startPublish(context.Background(), SpanEmit, e)
	if r.local {
		err := r.emitLocal(e)
		span.end(err)
		return adapter.Completed(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errEmitTimeout)
	defer cancel()
	receipt, err := r.log.Publish(ctx, e)
	span.end(err)
	if err != nil {
		return adapter.Completed(err)
	}
	return receipt
}
