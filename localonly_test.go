package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A recordingAdapter records what was published.
type recordingAdapter struct {
	*adapter.Memory

	published []*adapter.Envelope
}

func (w *recordingAdapter) Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	w.published = append(w.published, e)
	return w.Memory.Publish(ctx, e)
}

func TestEmit_ToOneSocket_LocalOnlyHint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &recordingAdapter{Memory: adapter.NewMemory(nil)}
		io := newServer(&socketio.Options{Adapter: w, Recovery: socketio.Recovery{Store: recovery.NewMemory(w.Memory)}})
		p := connected(t, io)
		s, _ := io.Socket(socketio.SocketID(p.id))
		room := socketio.Room(s.ID())
		var near []*adapter.Envelope
		for name, row := range map[string]struct {
			to   socketio.Target
			near bool
		}{
			"socket":             {s, true},
			"volatile":           {s.Volatile(), true},
			"narrowed":           {s.Volatile().Except("x"), true},
			"widened":            {s.Volatile().To("x"), false},
			"room of its id":     {io.To(room), false},
			"everybody":          {io, false},
			"everybody but this": {s.Others(), false},
		} {
			if err := said.Emit(t.Context(), row.to, name); err != nil {
				t.Fatal(err)
			}
			e := w.published[len(w.published)-1]
			if here := e.LocalOnly != nil && e.LocalOnly(); here != row.near {
				t.Errorf("%s: here is %v", name, here)
			}
			if row.near {
				near = append(near, e)
			}
		}
		p.drain()
		p.Cut()
		synctest.Wait()
		for _, e := range near {
			if e.LocalOnly() {
				t.Error("here, though its connection was cut")
			}
		}
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
