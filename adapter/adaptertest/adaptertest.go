// Package adaptertest checks that an implementation of adapter.Adapter keeps the
// promises of its documentation.
//
//	func TestConformance(t *testing.T) {
//		adaptertest.Run(t, func(t *testing.T) adaptertest.Log {
//			return adaptertest.Log{Nodes: 1, Node: …}
//		})
//	}
package adaptertest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// patience is how long a case waits for an expected event.
const patience = time.Minute

// A Log is an empty log for one case, with the operations that the implementation
// offers to a test. Cases that need an operation that is nil are skipped.
type Log struct {
	// Node returns a new node on the log, not yet bound. It stays open until the
	// test ends.
	Node func(t *testing.T) adapter.Adapter

	// Nodes is the number of nodes that the log can have at once.
	Nodes int

	// Trim removes every record from the log. It may publish to do so, in the
	// namespace "/trim".
	Trim func(t *testing.T)

	// Stall blocks writes to the log until the returned function is called.
	Stall func(t *testing.T) (resume func())

	// Close shuts a node down, Kill ends it without a shutdown, and Freeze suspends
	// it until the returned function is called. A node that was closed or killed is
	// not used again.
	Close  func(t *testing.T, a adapter.Adapter)
	Kill   func(t *testing.T, a adapter.Adapter)
	Freeze func(t *testing.T, a adapter.Adapter) (thaw func())

	// MaxEnvelope is the size in bytes beyond which Publish refuses an envelope;
	// zero if there is no limit.
	MaxEnvelope int
}

// A promise is a case of the suite.
type promise struct {
	name  string
	nodes int            // how many nodes it needs; zero means one
	needs func(Log) bool // whether the log has the operations it needs; nil means yes
	check func(t *testing.T, log Log)
}

// Run runs every case of the suite that the implementation supports. NewLog returns
// an empty log for each.
func Run(t *testing.T, newLog func(t *testing.T) Log) {
	t.Helper()
	var ran atomic.Int32
	t.Run("promises", func(t *testing.T) {
		for _, p := range promises() {
			t.Run(p.name, func(t *testing.T) {
				log := newLog(t)
				if log.Nodes < p.nodes || p.needs != nil && !p.needs(log) {
					t.Skip("the implementation does not offer what the case needs")
				}
				p.check(t, log)
				ran.Add(1)
			})
		}
	})
	if ran.Load() == 0 {
		t.Error("no case of the suite completed")
	}
}

func promises() []promise {
	stalls := func(l Log) bool { return l.Stall != nil }
	trims := func(l Log) bool { return l.Trim != nil }
	return []promise{
		{name: "Bind_StartOffset", check: bindStartOffset},
		{name: "Bind_Twice", check: bindTwice},
		{name: "Order_OneGoroutine", check: orderOneGoroutine},
		{name: "Order_OneNode", check: orderOneNode},
		{name: "Order_AllNodes", nodes: 3, check: orderAllNodes},
		{name: "Deliver_EnvelopeUnchanged", check: deliverEnvelopeUnchanged},
		{name: "Deliver_EveryKindAndSize", nodes: 2, check: deliverEveryKindAndSize},
		{name: "Nodes_Bound", check: nodesBound},
		{name: "Nodes_Several", nodes: 3, check: nodesSeveral},
		{name: "NodeLeft_Closed", nodes: 3, needs: func(l Log) bool { return l.Close != nil }, check: nodeLeftClosed},
		{name: "NodeLeft_Killed", nodes: 3, needs: func(l Log) bool { return l.Kill != nil }, check: nodeLeftKilled},
		{name: "NodeLeft_Frozen", nodes: 3, needs: func(l Log) bool { return l.Freeze != nil }, check: nodeLeftFrozen},
		{name: "Receipt_Offset", check: receiptOffset},
		{name: "Offset_RoundTrip", check: offsetRoundTrip},
		{name: "WaitDelivered_AfterPublish", check: waitDeliveredAfterPublish},
		{name: "LocalOnly_NotInRecord", check: localOnlyNotInRecord},
		{name: "LocalOnly_Order", nodes: 2, check: localOnlyOrder},
		{name: "LocalOnly_SocketMoved", nodes: 2, check: localOnlySocketMoved},
		{name: "Audience_Rooms", check: audienceRooms},
		{name: "Read_EveryRange", check: readEveryRange},
		{name: "Read_DuringPublish", check: readDuringPublish},
		{name: "Read_AnotherNode", nodes: 2, check: readAnotherNode},
		{name: "Read_AfterReceiptOfAnotherNode", nodes: 2, check: readAfterReceiptOfAnotherNode},
		{name: "Read_Trimmed", needs: trims, check: readTrimmed},
		{name: "ReadRoom_EveryPosition", check: readRoomEveryPosition},
		{name: "ReadRoom_AnotherNode", nodes: 2, check: readRoomAnotherNode},
		{name: "ReadRoom_DuringPublish", check: readRoomDuringPublish},
		{name: "ReadRoom_Trimmed", needs: trims, check: readRoomTrimmed},
		{name: "Withdraw_NeverDelivered", check: withdrawNeverDelivered},
		{name: "Withdraw_StalledLog", needs: stalls, check: withdrawStalledLog},
		{name: "Publish_FullQueue", needs: stalls, check: publishFullQueue},
		{name: "WaitDelivered_ContextEnds", needs: stalls, check: waitDeliveredContextEnds},
		{
			name: "Publish_TooLarge", needs: func(l Log) bool { return l.MaxEnvelope > 0 },
			check: publishTooLarge,
		},
	}
}

// within returns a ctx that ends after patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
