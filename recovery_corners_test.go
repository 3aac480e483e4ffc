package socketio_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// A room that is joined and left before anything was emitted: at the position before the first.
func TestRecovery_RoomLeftBeforeTheFirstEmit_IsNotHeld(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		p := connected(t, io)
		p.ask(`["join","red"]`)
		p.ask(`["leave","red"]`)
		p.Cut()
		synctest.Wait()
		emit(t, io.To("red"), "not for it")
		back := p.comeBackUncut(io)
		back.wantEvents()
		s := only(t, io)
		if got := fmt.Sprint(slices.Collect(s.Rooms())); !s.Recovered() || got != fmt.Sprintf("[%s]", p.id) {
			t.Errorf("recovered %v with rooms %s", s.Recovered(), got)
		}
	})
}
