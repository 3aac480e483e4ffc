package socketio_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestLargeEvents_Delivered: events larger than Options.QueueBytes reach a client that
// reads, live and replayed, with small ones between them.
func TestLargeEvents_Delivered(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{QueueBytes: 10_000}, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		large := strings.Repeat("x", 50_000)
		var want []string
		both := func() {
			for i := range 10 {
				for _, text := range []string{fmt.Sprint(i), large + fmt.Sprint(i)} {
					said.EmitAsync(io, text) // so that they are delivered together
					want = append(want, "said "+text)
				}
				emit(t, io, "between")
				want = append(want, "said between")
				synctest.Wait() // the client reads
			}
		}
		both()
		p.wantEvents(want...)
		p.Cut()
		synctest.Wait()
		want = nil
		both()
		p = p.comeBackUncut(io)
		both() // behind the replay, or live
		p.wantEvents(want...)
	})
}

// replaying returns a server and a client whose replay is in its last part: events that
// are emitted now are buffered. A token in the channel continues the replay.
func replaying(t *testing.T, opts socketio.Options) (*socketio.Server, *peer, chan struct{}) {
	t.Helper()
	log := &slowLog{Memory: adapter.NewMemory(nil), proceed: make(chan struct{}, 3)}
	opts.Adapter, opts.Recovery = log, socketio.Recovery{Store: recovery.NewMemory(log.Memory)}
	io := newServer(&opts)
	p := connected(t, io)
	p.Cut()
	synctest.Wait()
	emit(t, io, "missed")
	back := dial(t, io)
	back.pid = p.pid
	log.proceed <- struct{}{}
	log.proceed <- struct{}{}
	back.WriteText("0" + p.ticket())
	back.ReadText() // CONNECT
	synctest.Wait()
	return io, back, log.proceed
}

// TestReplay_LiveEventsBehindIt: they follow at the pace of the connection.
func TestReplay_LiveEventsBehindIt(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 10, "large": 15_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				io, p, proceed := replaying(t, socketio.Options{QueueBytes: 16_000, QueueMessages: 300})
				want := []string{"said missed"}
				text := strings.Repeat("x", size)
				for i := range map[string]int{"small": 250, "large": 4}[name] {
					emit(t, io, text+fmt.Sprint(i))
					want = append(want, fmt.Sprint("said ", text, i))
				}
				proceed <- struct{}{}
				synctest.Wait()
				emit(t, io, "live")
				p.wantEvents(append(want, "said live")...)
				if err := io.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestReplay_TooManyBytesBehindIt: the buffer is bounded in bytes; the client returns for
// the rest.
func TestReplay_TooManyBytesBehindIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io, p, proceed := replaying(t, socketio.Options{QueueBytes: 16_000})
		want := []string{"said missed"}
		for i := range 30 {
			emit(t, io, strings.Repeat("x", 1000)+fmt.Sprint(i))
			want = append(want, "said "+strings.Repeat("x", 1000)+fmt.Sprint(i))
		}
		p.closed()
		close(proceed)
		synctest.Wait()
		if n := io.Stats().Disconnects[socketio.ReasonSlowConsumer]; n != 1 {
			t.Errorf("%d slow consumers", n)
		}
		got := p.drain()
		back := dial(t, io)
		back.pid, back.offset = p.pid, p.offset
		back.connect(back.ticket())
		got = append(got, back.drain()...)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %d events, want %d", len(got), len(want))
		}
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
