// Package adaptertest holds implementations of adapter.Adapter to the promises
// of the contract.
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

// patience is how long a case waits for what has to happen.
const patience = time.Minute

// A Log is a fresh log for one case, and what the implementation lets a test do
// to it.
type Log struct {
	// Node returns a new node on the log, not bound yet. It lasts until the
	// test ends.
	Node func(t *testing.T) adapter.Adapter

	// Nodes is how many nodes the log can have at once.
	Nodes int

	// Trim makes the log forget everything it has. It may publish to do so, in
	// the namespace "/trim". Nil leaves out the cases that need it.
	Trim func(t *testing.T)

	// Stall keeps the log from taking anything until the returned function is
	// called. Nil, for a log that cannot stall, leaves out the cases that need
	// it.
	Stall func(t *testing.T) (resume func())

	// Close ends a node in an orderly way, Kill without a word; Freeze stops it
	// until the returned function is called. Nil, for what cannot be done to a
	// node, leaves out the cases that need it. Such a node is not used any more,
	// unless it was frozen.
	Close  func(t *testing.T, a adapter.Adapter)
	Kill   func(t *testing.T, a adapter.Adapter)
	Freeze func(t *testing.T, a adapter.Adapter) (thaw func())

	// MaxEnvelope is the size beyond which Publish refuses an envelope. Zero
	// leaves out the case that needs it.
	MaxEnvelope int
}

// A promise is a case of the suite.
type promise struct {
	name  string
	nodes int // needed; one if zero
	needs func(Log) bool
	check func(t *testing.T, log Log)
}

// Run runs every case of the suite that the implementation can be put to. NewLog
// returns a fresh log for each.
func Run(t *testing.T, newLog func(t *testing.T) Log) {
	t.Helper()
	var ran atomic.Int32
	t.Run("promises", func(t *testing.T) {
		for _, p := range promises() {
			t.Run(p.name, func(t *testing.T) {
				log := newLog(t)
				if log.Nodes < p.nodes || p.needs != nil && !p.needs(log) {
					t.Skip("not for this implementation")
				}
				p.check(t, log)
				ran.Add(1)
			})
		}
	})
	if ran.Load() == 0 {
		t.Error("no case of the suite ran to its end")
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

// within returns a ctx for what has to happen soon.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
