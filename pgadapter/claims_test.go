package pgadapter

import (
	"testing"

	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// TestClaim_OfAClientThatLeavesInTheTransaction_EndsTheFormerConnection: the claim raises the epoch of the session although
// its client has gone. The previous owner must be notified, or the session would expire while its client is connected.
func TestClaim_OfAClientThatLeavesInTheTransaction_EndsTheFormerConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	first, second := b.open(t, nil), b.open(t, nil)
	here, there := serve(t, first), serve(t, second)
	var g testClient
	g.connect(t, here)
	slow, err := b.connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Exec(t.Context(), "select from sessions for update"); err != nil {
		t.Fatal(err)
	}
	claimer := transporttest.Dial(t, there, "/socket.io/?EIO=4&transport=websocket")
	claimer.WriteText(`0{"pid":"` + g.pid + `"}`)
	claims := second.Sessions().claims
	underWay := func() *claim {
		claims.mu.Lock()
		defer claims.mu.Unlock()
		for _, c := range claims.waiting[recovery.HashPID(g.pid)] {
			return c
		}
		return nil
	}
	eventually(t, "the claim waits for the row", func() bool {
		c := underWay()
		return c != nil && c.state.Load() == claimTried
	})
	c := underWay()
	claimer.Cut()
	eventually(t, "the node notices that the client has gone", func() bool { return c.unwanted.Load() })
	if err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { // ends with the connection
		for {
			if _, _, err := g.ReadMessage(); err != nil {
				close(over)
				return
			}
		}
	}()
	eventually(t, "the previous connection is cut", func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	})
	eventually(t, "the session waits for its client", func() bool {
		return b.int(t, "select count(*) from sessions where node is null and epoch = 2") == 1
	})
	g.connect(t, here)
	if !g.recovered {
		t.Error("not recovered")
	}
}
