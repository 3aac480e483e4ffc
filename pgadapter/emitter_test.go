package pgadapter

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

func (b *bench) emitter(t *testing.T, opts *EmitterOptions) *Emitter {
	t.Helper()
	var o EmitterOptions
	if opts != nil {
		o = *opts
	}
	o.Schema, o.Logger = b.schema, slog.New(slog.NewTextHandler(testWriter{t}, nil))
	e, err := OpenEmitter(t.Context(), b.dsn, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestEmitter_SharesTheOrderOfTheNodes(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	dbs, recorders := b.nodes(t, 2, nil)
	all := []publishes{dbs[0], b.emitter(t, nil), dbs[1], b.emitter(t, nil)}
	killed, stop := b.kill(t, "Appends a batch", batches)
	acked := stormWhile(t, all, 8, 5*time.Millisecond, func(i int) bool { return i < 150 || killed.Load() < 5 })
	stop()
	checkSame(t, recorders, acked)
	ns, err := dbs[0].Nodes(t.Context())
	if err != nil || len(ns) != 2 {
		t.Errorf("nodes: %v, %v", ns, err)
	}
	if n := b.int(t, "select count(*) from nodes"); n != 2 {
		t.Errorf("%d nodes", n)
	}
}

func TestEmitter_Close_AppendsTheQueue(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	_, recorders := b.nodes(t, 1, nil)
	e, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		adaptertest.Publish(t, e, adaptertest.Event("on"))
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	recorders[0].Expect(t, 100)
	if _, err := e.Publish(t.Context(), adaptertest.Event("late")); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestEmitter_CloseDuringOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	e, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	resume := b.stall(t)
	r := adaptertest.Publish(t, e, adaptertest.Event("stuck"))
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	if err := e.Close(ctx); !errors.Is(err, cause) {
		t.Errorf("Close: %v", err)
	}
	if err := r.Wait(t.Context()); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("the receipt: %v", err)
	}
	resume()
}

func TestOpenEmitter_Errors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: "not_there"}); !errors.Is(err, ErrSchema) {
		t.Errorf("no schema: %v", err)
	}
	if _, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: b.schema, QueueEvents: -1}); err == nil {
		t.Error("accepted a queue of less than nothing")
	}
	if _, err := OpenEmitter(t.Context(), "postgres://127.0.0.1:1/none", &EmitterOptions{ConnectTimeout: -1}); err == nil {
		t.Error("connected to nothing")
	}
}
