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
