package socketio_test

import (
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestLocalDisconnect_ClientIsToldWhenDurable: a client that comes back at once, to whatever
// node, does not find the session that it was thrown out of.
func TestLocalDisconnect_ClientIsToldWhenDurable(t *testing.T) {
	t.Parallel()
	withSlowpoke(t, func(t *testing.T, io *socketio.Server, store *slowpoke) {
		p := connected(t, io)
		store.slowDown(true)
		returned := make(chan error, 1)
		go func() { returned <- io.Except().Local().Disconnect(t.Context()) }()
		synctest.Wait()
		if n := p.Waiting(); n != 0 || len(returned) != 0 {
			t.Errorf("%d messages before the end of the session is durable, returned %d", n, len(returned))
		}
		store.slowDown(false)
		if err := <-returned; err != nil {
			t.Error(err)
		}
		if got := p.ReadText(); got != "1" {
			t.Errorf("told %q", got)
		}
	})
}

// TestLocalDisconnect_InTheReplay: a client that is disconnected while the last part of a replay is on its way
// to it does not find its session, though something else cuts its connection before it is told.
func TestLocalDisconnect_InTheReplay_SessionIsOver(t *testing.T) {
	t.Parallel()
	memory := adapter.NewMemory(nil)
	log := &rewound{slowLog: slowLog{Memory: memory, gate: make(chan struct{})}}
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory)}}, func(t *testing.T, io *socketio.Server) {
		log.gate = make(chan struct{})
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		emit(t, io, "1")
		back := dial(t, io)
		back.WriteText("0" + p.ticket())
		for _, text := range []string{"2", "3"} { // for the next part
			log.gate <- struct{}{}
			synctest.Wait()
			emit(t, io, text)
		}
		synctest.Wait()
		if err := io.Except().Local().Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, head := log.Extent()
		log.local.LogTruncated(log.Offset(head))
		close(log.gate)
		back.closed()
		synctest.Wait()
		again := dial(t, io)
		again.connect(p.ticket())
		if only(t, io).Recovered() {
			t.Error("the client is back in its session")
		}
	})
}
