package socketio_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// TestShutdown_IdleNamespaceBesideABusyOne: what a client goes on sending to a namespace
// in which nothing waits does not cost it the answers of another.
func TestShutdown_IdleNamespaceBesideABusyOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(nil)
		handled := 0
		which.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) (int, error) {
			time.Sleep(time.Second)
			handled++
			return handled, ctx.Err()
		})
		io.Of("/idle")
		p := connected(t, io)
		p.WriteText("0/idle,")
		p.ReadText()
		for i := range 5 {
			p.WriteText(fmt.Sprintf(`2%d["which"]`, i))
		}
		synctest.Wait()
		time.AfterFunc(1500*time.Millisecond, func() { p.WriteText(`2/idle,["hello"]`) })
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for i := range 5 {
			if got, want := p.ReadText(), fmt.Sprintf("3%d[%d]", i, i+1); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		p.closed()
		if st := io.Stats(); st.Parked != 2 || st.Disconnects[socketio.ReasonServerShutdown] != 2 {
			t.Errorf("%+v", st)
		}
	})
}
