package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A new session begins after what its node has emitted, also when that is in the log
// and has not been delivered yet.
func TestSession_Begins_AfterEarlierEmitsOfItsNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log := &tardy{Memory: memory, arrived: make(chan struct{})}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory)}})
		emit(t, io, "before")
		p := dial(t, io)
		p.WriteText("0")
		synctest.Wait()
		if n := p.Waiting(); n != 0 {
			t.Errorf("%d messages from a node that has not read what it emitted", n)
		}
		log.arrive()
		p.connects()
		emit(t, io, "after")
		p.wantEvents("said after")
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A tardy log delays deliveries until they are released.
type tardy struct {
	*adapter.Memory

	local   adapter.Local
	arrived chan struct{}
	kept    [][]adapter.Delivery
}

func (l *tardy) Bind(local adapter.Local) (adapter.Offset, error) {
	l.local = local
	return l.Memory.Bind(l)
}

func (l *tardy) ID() string { return l.local.ID() }

func (l *tardy) LogTruncated(at adapter.Offset) { l.local.LogTruncated(at) }

func (l *tardy) LogGap(at adapter.Offset, cause error) { l.local.LogGap(at, cause) }

func (l *tardy) Deliver(batch []adapter.Delivery) {
	select {
	case <-l.arrived:
		l.local.Deliver(batch)
	default:
		l.kept = append(l.kept, batch)
	}
}

func (l *tardy) WaitDelivered(ctx context.Context) error {
	select {
	case <-l.arrived:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *tardy) arrive() {
	synctest.Wait()
	for _, batch := range l.kept {
		l.local.Deliver(batch)
	}
	close(l.arrived)
}
