package boundary_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/internal/boundary"
)

// A funcHandler is a slog.Handler of two functions.
type funcHandler struct {
	enabled func(slog.Level) bool
	handle  func(slog.Record) error
}

func (h funcHandler) Enabled(_ context.Context, l slog.Level) bool  { return h.enabled(l) }
func (h funcHandler) Handle(_ context.Context, r slog.Record) error { return h.handle(r) }
func (h funcHandler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h funcHandler) WithGroup(string) slog.Handler                 { return h }
func everything(slog.Level) bool                                    { return true }
func newLog(to slog.Handler, rate int) *boundary.Log                { return boundary.NewLog(slog.New(to), rate) }

func TestLog_SamplesByText(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLog(slog.NewTextHandler(&out, nil), 3)
		for range 100 {
			l.Error("often")
		}
		l.Warn("once")
		time.Sleep(time.Second)
		l.Error("often")
		synctest.Wait()
		if text := out.String(); strings.Count(text, "often") != 4 || strings.Count(text, "suppressed=97") != 1 || strings.Count(text, "once") != 1 {
			t.Errorf("lines\n%s", text)
		}
		if l.Dropped() != 97 {
			t.Errorf("%d dropped", l.Dropped())
		}
	})
}

func TestLog_KeepsOrderAndAttributes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLog(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), -1)
		again := boundary.NewLog(l.With(slog.String("a", "b")), 1)
		if again != l {
			t.Error("NewLog returned another Log for a logger of a Log")
		}
		with := l.With(slog.String("a", "b")).WithGroup("g")
		for i := range 50 {
			with.Debug("line", slog.Int("i", i))
		}
		l.Flush(t.Context())
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		for i, line := range lines {
			if !strings.HasSuffix(line, fmt.Sprintf("level=DEBUG msg=line a=b g.i=%d", i)) {
				t.Errorf("line %d: %s", i, line)
			}
		}
		if len(lines) != 50 {
			t.Errorf("%d lines", len(lines))
		}
	})
}

func TestLog_HandlerFails_LineIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		handled := 0
		l := newLog(funcHandler{everything, func(r slog.Record) error {
			handled++
			switch r.Message {
			case "panic":
				panic("handler")
			case "goexit":
				runtime.Goexit()
			case "error":
				return errors.New("disk full")
			}
			return nil
		}}, -1)
		l.Error("panic")
		l.Error("goexit")
		l.Error("error")
		l.Error("fine")
		l.Flush(t.Context())
		if handled != 4 || l.Dropped() != 3 {
			t.Errorf("%d handled, %d dropped", handled, l.Dropped())
		}
	})
}

func TestLog_HandlerBlocks_LinesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		released := make(chan struct{})
		lines := make(map[string]int)
		l := newLog(funcHandler{everything, func(r slog.Record) error {
			<-released
			lines[r.Message]++
			return nil
		}}, -1)
		l.Error("first")
		synctest.Wait()
		for range 1000 {
			l.Debug("detail") // may use half of the queue
		}
		for range 1000 {
			l.Error("important")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l.Flush(ctx)
		close(released)
		l.Flush(t.Context())
		if lines["detail"] != 512 || lines["important"] != 512 || lines["log lines dropped: the handler is too slow"] != 1 {
			t.Errorf("lines %v", lines)
		}
	})
}

// TestLog_DebugLevelChanges checks a handler that changes its level while the program runs.
func TestLog_DebugLevelChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var level slog.LevelVar
		var out bytes.Buffer
		l := newLog(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: &level}), -1)
		l.Debug("unwanted")
		level.Set(slog.LevelDebug)
		time.Sleep(2 * time.Second)
		l.Debug("the first finds out")
		synctest.Wait()
		l.Debug("wanted")
		synctest.Wait()
		if got := out.String(); strings.Contains(got, "unwanted") || !strings.Contains(got, "msg=wanted") {
			t.Errorf("lines %s", got)
		}
	})
}
