package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// A state may be ahead of the node of its client. Events that the state contains are
// not delivered when the node reads them.
func TestResumeFrom_SnapshotAheadOfTheNode_IsWaitedFor(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, ahead, behind *socketio.Server) {
		var mark string
		behind.Use(func(ctx context.Context, s *socketio.Socket) error { return s.ResumeFrom(ctx, mark) })
		log.lag.Store(true)
		emit(t, ahead, "shown")
		_, head := log.Extent()
		mark = log.Offset(head).String()
		p := dial(t, behind)
		p.WriteText("0")
		time.Sleep(time.Second)
		synctest.Wait()
		if n := p.Waiting(); n != 0 {
			t.Errorf("%d messages from a node that is behind", n)
		}
		log.lag.Store(false)
		log.catchUp()
		p.connects()
		emit(t, ahead, "then")
		p.wantEvents("said then")
	})
}

// A node that does not reach the client's position closes the connection, so that the client retries.
func TestRestore_TakesTooLong_IsAborted(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, ahead, behind *socketio.Server) {
		log.lag.Store(true)
		p := connected(t, ahead)
		emit(t, ahead, "1")
		p.drain()
		back := dial(t, behind)
		back.WriteText("0" + p.ticket())
		back.timesOut()
		log.lag.Store(false)
		log.catchUp()
		back = dial(t, behind)
		back.pid, back.offset = p.pid, p.offset
		back.WriteText("0" + p.ticket())
		back.connects()
		if back.pid != p.pid {
			t.Error("the session is lost")
		}
	})
}

// TestSession_SecondSession_BeginsAtTheClientsOffset: at a node that has not read all events of the former session.
func TestSession_SecondSession_BeginsAtTheClientsOffset(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, log *second, ahead, behind *socketio.Server) {
		p := connected(t, ahead)
		emit(t, ahead, "1")
		p.drain()
		log.lag.Store(true)
		emit(t, ahead, "2")
		emit(t, ahead, "3")
		p.drain()
		if err := only(t, ahead).Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := dial(t, behind)
		again.offset = p.offset
		again.WriteText("0" + p.ticket())
		synctest.Wait()
		if n := again.Waiting(); n != 0 {
			t.Errorf("%d messages from a node that is behind", n)
		}
		log.catchUp()
		log.lag.Store(false)
		again.connects()
		again.wantEvents()
		again.Cut()
		emit(t, ahead, "4")
		back := again.comeBackUncut(behind)
		back.wantEvents("said 4")
		if r := only(t, behind).Recovery(); !r.Recovered {
			t.Errorf("not recovered: %v", r.Reason)
		}
	})
}
