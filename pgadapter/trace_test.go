package pgadapter

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter"
)

type tracedKey struct{}

// A appendTracer records whether statements ran in the context of an append.
type appendTracer struct {
	mu     sync.Mutex
	traced int
}

func (s *appendTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Value(tracedKey{}) != nil && strings.Contains(data.SQL, "append(") {
		s.traced++
	}
	return ctx
}

func (s *appendTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func tracedRecord(trace string) *adapter.Envelope {
	return &adapter.Envelope{Namespace: "/", Payload: []byte(`["x"]`), TraceContext: trace}
}

func TestTraceAppend_StatementHasContext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	config, err := pgxpool.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	statements := &appendTracer{}
	config.ConnConfig.Tracer = statements
	if b.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	var traces []string // of the goroutine that appends; read after its end
	results := make(chan error, 8)
	db := b.open(t, &Options{TraceAppend: func(ctx context.Context, contexts []string) (context.Context, func(error)) {
		traces = append(traces, contexts...)
		return context.WithValue(ctx, tracedKey{}, true), func(err error) { results <- err }
	}})
	for _, trace := range []string{"a", "", "b"} {
		appendOne(t, db, tracedRecord(trace))
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if want := []string{"a", "b"}; !slices.Equal(traces, want) {
		t.Errorf("appends of %q, want %q", traces, want)
	}
	statements.mu.Lock()
	defer statements.mu.Unlock()
	if statements.traced != 2 {
		t.Errorf("%d statements in the contexts of appends, want 2", statements.traced)
	}
}

// TestTraceAppend_Fails: the events are appended all the same.
func TestTraceAppend_Fails(t *testing.T) {
	t.Parallel()
	for name, trace := range map[string]TraceAppend{
		"start panics": func(context.Context, []string) (context.Context, func(error)) { panic("start") },
		"end panics": func(ctx context.Context, _ []string) (context.Context, func(error)) {
			return ctx, func(error) { panic(errors.New("end")) }
		},
		"nothing": func(context.Context, []string) (context.Context, func(error)) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			db := b.open(t, &Options{TraceAppend: trace})
			for range 2 {
				appendOne(t, db, tracedRecord("a"))
			}
			wantLogged(t, b, `["x"]`, `["x"]`)
		})
	}
}
