package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// A lineRecorder is a handler that keeps the lines that it receives.
type lineRecorder struct {
	slog.Handler
	mu    *sync.Mutex
	lines *[]string
}

func newLineRecorder() lineRecorder {
	return lineRecorder{slog.DiscardHandler, &sync.Mutex{}, &[]string{}}
}

func (r lineRecorder) Enabled(context.Context, slog.Level) bool { return true }

func (r lineRecorder) Handle(_ context.Context, line slog.Record) error {
	text := line.Level.String() + " " + line.Message
	line.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.lines = append(*r.lines, text)
	return nil
}

// with returns the lines that contain a text.
func (r lineRecorder) with(text string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(*r.lines), func(line string) bool { return !strings.Contains(line, text) })
}

// TestOutage_Lines: a warning when it begins, one a minute while it lasts, and a line when it is over.
func TestOutage_Lines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newLineRecorder()
		o := outage{logger: slog.New(r), begins: "down", over: "up"}
		o.succeeded(t.Context()) // nothing was down
		for range 70 {
			o.failed(t.Context(), errors.New("gone"), slog.Int("n", 1))
			time.Sleep(2 * time.Second)
		}
		o.succeeded(t.Context())
		o.succeeded(t.Context())
		time.Sleep(time.Second)
		o.failed(t.Context(), errors.New("gone again"))
		o.succeeded(t.Context())
		want := []string{
			"WARN down n=1 error=gone", "WARN down n=1 error=gone lasted=1m0s", "WARN down n=1 error=gone lasted=2m0s", "INFO up lasted=2m20s",
			"WARN down error=gone again", "INFO up lasted=0s",
		}
		if got := r.with(""); !slices.Equal(got, want) {
			t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestLog_PostgresStops: while Postgres is stopped each activity of a node fails many times, and logs that it began and that it
// is over. The node logs once that it has joined.
func TestLog_PostgresStops(t *testing.T) {
	t.Parallel()
	srv, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	r := newLineRecorder()
	db, err := Open(t.Context(), dsn, &Options{
		Schema: schema, NodeName: "web", Lease: time.Second, Retention: 2 * time.Second, Heartbeat: 50 * time.Millisecond,
		Logger: slog.New(r),
	})
	if err != nil {
		t.Fatal(err)
	}
	joined := fmt.Sprintf("INFO node joined the cluster node=web id=%d schema=%s position=%d", db.node.id.Load(), schema, db.tail.position())
	eventually(t, "the node logs that it has joined", func() bool { return len(r.with("joined")) > 0 })
	if got := r.with("joined"); !slices.Equal(got, []string{joined}) {
		t.Errorf("lines %q, want %q", got, joined)
	}

	if err := srv.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	counted := func(n int, texts ...string) func() bool {
		return func() bool {
			return !slices.ContainsFunc(texts, func(text string) bool { return len(r.with(text)) < n })
		}
	}
	begun := []string{"WARN heartbeat not confirmed", "WARN sweep failed", "WARN lost the connection that reads the log"}
	over := []string{"INFO heartbeat confirmed again", "INFO sweep succeeded again", "INFO log connection restored"}
	eventually(t, "each activity has failed", counted(1, begun...))
	eventually(t, "the outage lasts for many heartbeats and several sweeps", func() bool {
		return time.Since(db.Stats().Confirmed) > 2*time.Second
	})
	if err := srv.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "each activity works again", counted(1, over...))
	for _, text := range slices.Concat(begun, over) {
		if got := r.with(text); len(got) != 1 {
			t.Errorf("%d lines: %q", len(got), got)
		}
	}
	for _, text := range over {
		if got := r.with(text); !strings.Contains(got[0], " lasted=") || strings.HasSuffix(got[0], " lasted=0s") {
			t.Errorf("the line %q does not say how long it lasted", got[0])
		}
	}
	if err := db.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
