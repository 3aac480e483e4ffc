package socketio_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestDisconnect_InTheReplay_JoinsNothing: a socket that an operation has disconnected during the last part of a replay
// cannot join rooms: else the client would receive events from after its end, and Join would return nil.
func TestDisconnect_InTheReplay_JoinsNothing(t *testing.T) {
	t.Parallel()
	memory := adapter.NewMemory(nil)
	log := &rewound{slowLog: slowLog{Memory: memory, proceed: make(chan struct{})}}
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory)}}, func(t *testing.T, io *socketio.Server) {
		log.proceed = make(chan struct{})
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		var socket *socketio.Socket
		io.Use(func(_ context.Context, s *socketio.Socket) error { socket = s; return nil })
		emit(t, io, "1")
		back := dial(t, io)
		back.WriteText("0" + p.ticket())
		for _, text := range []string{"2", "3"} { // for the next part
			log.proceed <- struct{}{}
			synctest.Wait()
			emit(t, io, text)
		}
		synctest.Wait()
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
