package socketio_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/recovery"
)

// TestReplay_RepeatedAfterGoingBack: a client that presents the newest offset between two replays of
// everything makes no progress.
func TestReplay_RepeatedAfterGoingBack_EndsTheSession(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"the same events": false, "new ones in between": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repeatable(t, 100, func(t *testing.T, io *socketio.Server, p *peer, want []string) {
				for received := 0; ; received += len(want) {
					if received > 2000 {
						t.Fatalf("%d events were received of %d", received, len(want))
					}
					p.offset = ""
					back := dial(t, io)
					back.WriteText("0" + p.ticket())
					if back.connects(); back.pid != p.pid {
						synctest.Wait()
						if reason := only(t, io).Recovery().Reason; !errors.Is(reason, recovery.ErrRepeated) {
							t.Errorf("reason %v", reason)
						}
						return
					}
					back.readsAndLeaves(len(want))
					p.offset = back.offset
					if busy {
						text := fmt.Sprint(received, strings.Repeat("x", 60))
						emit(t, io, text)
						want = append(want, text)
					}
					back = dial(t, io)
					back.WriteText("0" + p.ticket())
					if back.connects(); back.pid != p.pid {
						return
					}
					synctest.Wait()
					back.Cut()
					synctest.Wait()
				}
			})
		})
	}
}
