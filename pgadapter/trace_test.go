package pgadapter

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
		"nothing":                  func(context.Context, []string) (context.Context, func(error)) { return nil, nil },
		"no context":               func(context.Context, []string) (context.Context, func(error)) { return nil, func(error) {} },
		"no end":                   func(ctx context.Context, _ []string) (context.Context, func(error)) { return ctx, nil },
		"start ends its goroutine": func(context.Context, []string) (context.Context, func(error)) { runtime.Goexit(); return nil, nil },
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

// TestTraceAppend_CancelledContext: the work lasts as long as it would without a trace.
func TestTraceAppend_CancelledContext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{TraceAppend: func(ctx context.Context, _ []string) (context.Context, func(error)) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, func(error) {}
	}})
	appendOne(t, db, tracedRecord("a"))
	wantLogged(t, b, `["x"]`)
}

// TestTraceAppend_Blocks: Close waits no longer than its context for an observer that does not return.
func TestTraceAppend_Blocks(t *testing.T) {
	t.Parallel()
	for name, atEnd := range map[string]bool{"start": false, "end": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			release, blocks := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(release) })
			wait := func() { close(blocks); <-release }
			db, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema, TraceAppend: func(ctx context.Context, _ []string) (context.Context, func(error)) {
				if !atEnd {
					wait()
				}
				return ctx, func(error) { wait() }
			}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Publish(t.Context(), tracedRecord("a")); err != nil {
				t.Fatal(err)
			}
			<-blocks
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			closed := make(chan error, 1)
			go func() { closed <- db.Close(ctx) }() // ends with Close
			select {
			case err := <-closed:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(30 * time.Second):
				t.Error("Close waits for TraceAppend")
			}
		})
	}
}

// TestPublish_TraceContextFails: an envelope that would be published without its trace context is published.
func TestPublish_TraceContextFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	largest := tracedRecord("")
	largest.Payload = []byte(`["` + strings.Repeat("x", 5000) + `"]`)
	var traces []string // of the goroutine that appends; read after its end
	db := b.open(t, &Options{MaxEnvelope: largest.Size(), TraceAppend: func(ctx context.Context, contexts []string) (context.Context, func(error)) {
		traces = append(traces, contexts...)
		return ctx, func(error) {}
	}})
	largest.TraceContext = "a"
	appendOne(t, db, largest)
	for _, text := range unusableTraces {
		appendOne(t, db, tracedRecord(text))
	}
	if len(traces) > 0 {
		t.Errorf("appends of %q", traces)
	}
	if n := b.int(t, "select count(*) from view_packets"); int(n) != 1+len(unusableTraces) {
		t.Errorf("%d packets", n)
	}
}

var unusableTraces = map[string]string{
	"empty": "", "too long": strings.Repeat("t", adapter.MaxTraceContext+1), "invalid UTF-8": "a\xffb", "NUL": "a\x00b",
}

// TestEmitTx_TraceContextFails: the transaction goes on, and the event belongs to no trace.
func TestEmitTx_TraceContextFails(t *testing.T) {
	t.Parallel()
	hooks := map[string]func(context.Context) string{
		"panics": func(context.Context) string { panic("trace") },
		"Goexit": func(context.Context) string { runtime.Goexit(); return "" },
	}
	for name, text := range unusableTraces {
		hooks[name] = func(context.Context) string { return text }
	}
	for name, hook := range hooks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			emitTraced(t, tracedRecord(""), hook)
		})
	}
	t.Run("largest event", func(t *testing.T) {
		t.Parallel()
		largest := tracedRecord("")
		fill := maxSQLEvent - len(appendPacket(nil, largest)) - len(`,""`)
		largest.Payload = []byte(`["x","` + strings.Repeat("y", fill) + `"]`)
		emitTraced(t, largest, func(context.Context) string { return "traceparent:00" })
	})
}

// emitTraced emits an event in a transaction, which commits, and reads it from the log.
func emitTraced(t *testing.T, e *adapter.Envelope, hook func(context.Context) string) {
	t.Helper()
	b := newBench(t)
	tx, err := b.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := EmitTx(t.Context(), tx, e, &EmitOptions{Schema: b.schema, TraceContext: hook}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.relay(t)
	wantLogged(t, b, string(e.Payload))
}
