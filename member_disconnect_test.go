package socketio_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// TestDisconnect_InTheReplay_JoinsNothing: a socket that an operation has disconnected during the last part of a replay
// cannot join rooms: else the client would receive events from after its end, and Join would return nil.
func TestDisconnect_InTheReplay_JoinsNothing(t *testing.T) {
	t.Parallel()
	inTheReplay(t, func(t *testing.T, io *socketio.Server, log *rewound, _, back *peer) {
		socket := only(t, io)
		if err := io.Except().Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := socket.Join(t.Context(), "r"); err == nil {
			t.Error("joined after the end")
		}
		if socket.In("r") {
			t.Error("is in the room")
		}
		emit(t, io.To("r"), "after the end")
		synctest.Wait()
		close(log.proceed)
		synctest.Wait()
		for back.Waiting() > 0 {
			if text := back.ReadText(); strings.Contains(text, "after the end") {
				t.Errorf("got %q", text)
			}
		}
	})
}

// TestDisconnect_InTheReplay_IsNotCheckpointed: after the replay, and before the end of the session is written, a checkpoint
// must not cover the operation that ended it: if the node were killed then, the client would recover the session.
func TestDisconnect_InTheReplay_IsNotCheckpointed(t *testing.T) {
	t.Parallel()
	inTheReplay(t, func(t *testing.T, io *socketio.Server, log *rewound, _, _ *peer) {
		socket := only(t, io)
		do(t, io.Except().Disconnect(t.Context()))
		if err := socket.EndReplay(); err == nil {
			t.Error("the session is not over")
		}
		if progress := io.Checkpoint(); len(progress) > 0 {
			t.Errorf("checkpoint %+v", progress)
		}
		close(log.proceed)
	})
}

// TestDisconnect_LocalInTheReplay_ClientCut: the session is over, although nothing in the log says so and the client did
// not receive its replay.
func TestDisconnect_LocalInTheReplay_ClientCut(t *testing.T) {
	t.Parallel()
	inTheReplay(t, func(t *testing.T, io *socketio.Server, log *rewound, p, back *peer) {
		do(t, io.Local().Disconnect(t.Context()))
		back.Cut()
		synctest.Wait()
		close(log.proceed)
		p.comeBackUncut(io).wantEvents()
		if r := only(t, io).Recovery(); r.Recovered {
			t.Error("recovered")
		}
	})
}
