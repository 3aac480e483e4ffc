package socketio_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// stuckLosable is a losable log whose ReadRoom waits for ctx.
type stuckLosable struct{ *losable }

func (stuckLosable) ReadRoom(ctx context.Context, _, _ string, _ adapter.Position) iter.Seq2[adapter.PastDelivery, error] {
	return func(yield func(adapter.PastDelivery, error) bool) {
		<-ctx.Done()
		yield(adapter.PastDelivery{}, context.Cause(ctx))
	}
}

// The log loses the record of a join whose history has not been sent: what is at the positions
// before it now is not what was there.
func TestHistory_LogLosesItsEndMeanwhile_SocketIsCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := stuckLosable{&losable{}}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Disabled: true}})
		emit(t, io.To("red"), "1")
		p, q := connected(t, io), connected(t, io)
		s := socketOf(t, io, p.id)
		go func() { _ = earlier.Join(t.Context(), s, "red", socketio.Past{}) }()
		synctest.Wait()
		log.lose(2)
		p.closed()
		emit(t, io, "2")
		q.wantEvents("said 2")
		do(t, io.Shutdown(t.Context()))
	})
}

// boundLog is a log in memory whose end a test can take away from its server.
type boundLog struct {
	*adapter.Memory

	local adapter.Local
}

func (l *boundLog) Bind(local adapter.Local) (adapter.Offset, error) {
	l.local = local
	return l.Memory.Bind(local)
}

// The log loses the record of a join after the history has been sent, and gets it again. A
// replay would send the history once more, so the session ends; the client stays.
func TestHistory_Redelivered_SessionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &boundLog{Memory: adapter.NewMemory(nil)}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}})
		histories(io, socketio.Past{})
		emit(t, io.To("red"), "1")
		p := connected(t, io)
		p.joinRoom("red")
		_, head := log.Extent()
		record, err := func() (d []adapter.Delivery, err error) {
			for d, err = range log.Read(t.Context(), head-1, head) {
				break
			}
			return d, err
		}()
		if err != nil || len(record) != 1 || record[0].Kind != adapter.History {
			t.Fatalf("%+v, %v", record, err)
		}
		log.local.LogTruncated(log.Offset(head - 1))
		record[0].Redelivery = 1
		log.local.Deliver(record)
		emit(t, io.To("red"), "2")
		p.wantEvents(`earlier map[complete:true events:[[said 1]] room:red]`, "said 2")
		if back := p.comeBack(io); back.id == p.id {
			t.Error("recovered")
		}
		do(t, io.Shutdown(t.Context()))
	})
}
