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
		{name: "BindSaysWhereDeliveriesBegin", check: bindSaysWhereDeliveriesBegin},
		{name: "BindIsOnce", check: bindIsOnce},
		{name: "OneGoroutineKeepsItsOrder", check: oneGoroutineKeepsItsOrder},
		{name: "AllPublishersOfANodeAreInOneOrder", check: allPublishersOfANodeAreInOneOrder},
		{name: "AllNodesSeeOneOrder", nodes: 3, check: allNodesSeeOneOrder},
		{name: "EnvelopesArriveAsTheyWere", check: envelopesArriveAsTheyWere},
		{name: "EveryKindArrivesAtAnySize", nodes: 2, check: everyKindArrivesAtAnySize},
		{name: "NodesAreThoseThatAreBound", check: nodesAreThoseThatAreBound},
		{name: "NodesKnowEachOther", nodes: 3, check: nodesKnowEachOther},
		{name: "AClosedNodeIsGone", nodes: 3, needs: func(l Log) bool { return l.Close != nil }, check: aClosedNodeIsGone},
		{name: "AKilledNodeIsGone", nodes: 3, needs: func(l Log) bool { return l.Kill != nil }, check: aKilledNodeIsGone},
		{name: "AFrozenNodeIsGoneAndComesBack", nodes: 3, needs: func(l Log) bool { return l.Freeze != nil }, check: aFrozenNodeIsGoneAndComesBack},
		{name: "ReceiptsTellTheOffset", check: receiptsTellTheOffset},
		{name: "OffsetsSurviveTheirText", check: offsetsSurviveTheirText},
		{name: "SyncWaitsForDelivery", check: syncWaitsForDelivery},
		{name: "HereIsNoPartOfTheRecord", check: hereIsNoPartOfTheRecord},
		{name: "WhatIsNearKeepsTheOneOrder", nodes: 2, check: whatIsNearKeepsTheOneOrder},
		{name: "WhoHasLeftIsToldElsewhere", nodes: 2, check: whoHasLeftIsToldElsewhere},
		{name: "AudiencesSelectByRooms", check: audiencesSelectByRooms},
		{name: "ReadIsExact", check: readIsExact},
		{name: "ReadIsExactWhileOthersPublish", check: readIsExactWhileOthersPublish},
		{name: "ReadOnAnotherNodeIsTheSame", nodes: 2, check: readOnAnotherNodeIsTheSame},
		{name: "ReadSaysWhatIsNoLongerKept", needs: trims, check: readSaysWhatIsNoLongerKept},
		{name: "WithdrawnIsNeverDelivered", check: withdrawnIsNeverDelivered},
		{name: "WithdrawWorksWhileTheLogStalls", needs: stalls, check: withdrawWorksWhileTheLogStalls},
		{name: "AFullQueueWaitsAndThenFails", needs: stalls, check: aFullQueueWaitsAndThenFails},
		{name: "SyncIsBoundByItsContext", needs: stalls, check: syncIsBoundByItsContext},
		{
			name: "TooLargeIsRefused", needs: func(l Log) bool { return l.MaxEnvelope > 0 },
			check: tooLargeIsRefused,
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
