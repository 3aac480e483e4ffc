package socketio_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/recovery"
)

// TestLocalDisconnect_ClientIsToldWhenDurable: a client that returns at once, to any node,
// does not recover the session that was ended.
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
			t.Errorf("got %q", got)
		}
	})
}

// TestLocalDisconnect_InTheReplay: a client that is disconnected during the last part of a replay does not
// recover its session, even if its connection is cut before it receives DISCONNECT.
func TestLocalDisconnect_InTheReplay_SessionIsOver(t *testing.T) {
	t.Parallel()
	inTheReplay(t, func(t *testing.T, io *socketio.Server, log *rewound, p, back *peer) {
		if err := io.Except().Local().Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, head := log.Extent()
		log.local.LogTruncated(log.Offset(head))
		close(log.proceed)
		back.closed()
		synctest.Wait()
		again := dial(t, io)
		again.connect(p.ticket())
		if only(t, io).Recovered() {
			t.Error("the client has recovered its session")
		}
	})
}

// TestLocalDisconnect_InTheReplay_DurableWhenItReturns: when the node is killed before the end of the replay, another one must
// not restore the session.
func TestLocalDisconnect_InTheReplay_DurableWhenItReturns(t *testing.T) {
	t.Parallel()
	inTheReplay(t, func(t *testing.T, io *socketio.Server, log *rewound, p, back *peer) {
		do(t, io.Local().Disconnect(t.Context()))
		request := recovery.ResumeRequest{PIDHash: recovery.HashPID(p.pid), Namespace: "/", Offset: p.offset}
		if _, err := io.Store().Resume(t.Context(), request); !errors.Is(err, recovery.ErrUnknown) {
			t.Errorf("claimed: %v", err)
		}
		close(log.proceed)
		var last string
		for last = back.ReadText(); last != "1"; last = back.ReadText() { // the replay, then DISCONNECT
		}
	})
}
