package socketio_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/recovery"
)

// repeatable has a client that is away while events of a hundred bytes each are emitted. It may be sent 300 of them again.
func repeatable(t *testing.T, events int, test func(t *testing.T, io *socketio.Server, p *peer, want []string)) {
	t.Helper()
	opts := &socketio.Options{QueueBytes: 4000, Recovery: socketio.Recovery{MaxRepeatedBytes: 30_000}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		var want []string
		for i := range events {
			text := fmt.Sprintf("%d%s", i, strings.Repeat("x", 60))
			emit(t, io, text)
			want = append(want, text)
		}
		test(t, io, p, want)
	})
}

// readsAndLeaves reads some events of the peer's replay, keeps their offsets on request, and cuts the connection.
func (p *peer) readsAndLeaves(events int) (got []string) {
	p.t.Helper()
	for range events {
		var args []string
		if err := json.Unmarshal([]byte(p.ReadText()[1:]), &args); err != nil {
			p.t.Fatal(err)
		}
		got = append(got, args[1])
		p.offset = args[2]
	}
	p.Cut()
	synctest.Wait()
	return got
}

func TestReplay_RepeatedWithoutProgress_EndsTheSession(t *testing.T) {
	t.Parallel()
	for name, keeps := range map[string]bool{"without an offset": false, "with one event more each time": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repeatable(t, 100, func(t *testing.T, io *socketio.Server, p *peer, want []string) {
				for received := 0; ; {
					back := dial(t, io)
					back.WriteText("0" + p.ticket())
					back.connects()
					if back.pid != p.pid {
						synctest.Wait()
						if reason := only(t, io).Recovery().Reason; !errors.Is(reason, recovery.ErrRepeated) {
							t.Errorf("reason %v", reason)
						}
						emit(t, io, "on")
						back.wantEvents("said on")
						t.Logf("%d bytes were received of %d", received, len(want)*100)
						return
					}
					reads := len(want)
					if keeps {
						reads = 1
					}
					got := back.readsAndLeaves(reads)
					if keeps {
						p.offset, want = back.offset, want[1:]
					}
					if received += len(got) * 100; received > 100_000 {
						t.Fatalf("%d bytes were received", received)
					}
				}
			})
		})
	}
}

// breaksOff returns, and its connection breaks when it has read no more than the answer to CONNECT. Some 50 events are
// in transit then.
func (p *peer) breaksOff(io *socketio.Server) {
	p.t.Helper()
	back := dial(p.t, io)
	synctest.Wait() // it reads one message more
	back.Pause()
	back.WriteText("0" + p.ticket())
	if back.connects(); back.pid != p.pid {
		synctest.Wait()
		p.t.Fatalf("not recovered: %v", only(p.t, io).Recovery().Reason)
	}
	synctest.Wait()
	back.Cut()
	synctest.Wait()
}

func TestReplay_OfALineThatBreaksOften_IsNoRepetition(t *testing.T) {
	t.Parallel()
	repeatable(t, 0, func(t *testing.T, io *socketio.Server, p *peer, _ []string) {
		recordingAdapter := connected(t, io)
		var offsets []string
		for i := range 1000 {
			emit(t, io, fmt.Sprintf("%d%s", i, strings.Repeat("x", 60)))
			recordingAdapter.drain()
			offsets = append(offsets, recordingAdapter.offset)
		}
		recordingAdapter.Cut()
		synctest.Wait()
		for i := 12; i < len(offsets); i += 12 {
			p.offset = offsets[i]
			p.breaksOff(io)
		}
	})
}

func TestReplay_BrokenAFewTimesBeforeItsFirstEvent_IsNoRepetition(t *testing.T) {
	t.Parallel()
	repeatable(t, 500, func(t *testing.T, io *socketio.Server, p *peer, want []string) {
		for range 5 {
			p.breaksOff(io)
		}
		back := p.comeBackUncut(io)
		if got := back.drain(); len(got) != len(want) {
			t.Errorf("%d events", len(got))
		}
	})
}
