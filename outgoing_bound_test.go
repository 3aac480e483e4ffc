package socketio_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// TestSlowOutgoingCatchAll_BoundedInBytes: waiting events take no more than
// Options.InboxBytes.
func TestSlowOutgoingCatchAll_BoundedInBytes(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{InboxBytes: 100_000}, func(t *testing.T, io *socketio.Server) {
		released := make(chan struct{})
		told := 0
		io.OnAnyOutgoing(func(*socketio.Socket, *socketio.OutgoingEvent) {
			<-released
			told++
		})
		p := connected(t, io)
		for range 20 {
			emit(t, io, strings.Repeat("x", 30_000))
			synctest.Wait()
		}
		if got := p.drain(); len(got) != 20 {
			t.Errorf("the client got %d events", len(got))
		}
		close(released)
		synctest.Wait()
		if told != 4 { // one call was running, three waited
			t.Errorf("observed %d", told)
		}
	})
}
