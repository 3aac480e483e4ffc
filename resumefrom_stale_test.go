package socketio_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestResumeFrom_OffsetThatTheLogDoesNotHave: a client keeps the offset of a session that could not be recovered until it
// is connected and receives an event. An offset of another log, or of an end that the log has lost, cannot be compared
// with the state that the application has read since: if it refused the client, every later attempt would fail too.
func TestResumeFrom_OffsetThatTheLogDoesNotHave(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]func(log *adapter.Memory) adapter.Offset{
		"another log": func(log *adapter.Memory) adapter.Offset {
			return adapter.Offset{Position: 100, Log: log.Number() + 1, Check: 1}
		},
		"lost end": func(log *adapter.Memory) adapter.Offset {
			return adapter.Offset{Position: 100, Log: log.Number(), Check: 1}
		},
		"another record": func(log *adapter.Memory) adapter.Offset {
			return adapter.Offset{Position: 2, Log: log.Number(), Check: log.Offset(2).Check + 1}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := adapter.NewMemory(nil)
			bubble(t, &socketio.Options{
				Adapter: memory, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory), Snapshots: memory},
			}, func(t *testing.T, io *socketio.Server) {
				emit(t, io, "1")
				mark := memory.Offset(1).String()
				emit(t, io, "2")
				io.Use(func(ctx context.Context, s *socketio.Socket) error { return s.ResumeFrom(ctx, mark) })
				p := dial(t, io)
				p.WriteText(fmt.Sprintf(`0{"pid":"AAAAAAAAAAAAAAAAAAAA","offset":%q}`, held(memory)))
				synctest.Wait()
				text := p.ReadText()
				if !strings.HasPrefix(text, "0") {
					t.Errorf("answered with %q", text)
					return
				}
				p.pid = "new"
				p.wantEvents("said 2")
			})
		})
	}
}
