package adapter

import (
	"context"
	"errors"
	"iter"
	"time"
)

// ErrTrimmed reports that a part of the log that was asked for is no longer
// kept.
var ErrTrimmed = errors.New("that part of the log is no longer kept")

// ErrSnapshot reports a text that is not a bookmark of this log.
var ErrSnapshot = errors.New("not a bookmark of this log")

// ErrClosed reports that the adapter has been closed.
var ErrClosed = errors.New("adapter closed")

// ErrQueueFull reports that an envelope was refused because the queue towards
// the log stayed full for as long as the caller was ready to wait.
var ErrQueueFull = errors.New("queue towards the log is full")

// ErrTooLarge reports that an envelope is larger than the log accepts.
var ErrTooLarge = errors.New("envelope too large for the log")

// An Adapter connects one node to the log that all nodes share.
//
// Its methods may be called from any goroutine.
type Adapter interface {
	// Bind attaches the node, once, before any other call. From then on Nodes
	// lists it everywhere. Deliveries begin with the first record after the
	// returned offset. Bind may call Local.Deliver before it returns only from
	// another goroutine.
	Bind(Local) (Offset, error)

	// Publish queues e and returns its Receipt. The order of the calls of one
	// goroutine is the order in the log. It waits while the queue is full:
	// when ctx ends first, the error is ErrQueueFull wrapping the cause of ctx
	// and e was not queued.
	Publish(ctx context.Context, e *Envelope) (*Receipt, error)

	// WaitDelivered returns nil when everything that this node had published before the
	// call, and that is in the log, has been delivered to this node.
	WaitDelivered(ctx context.Context) error

	// Read yields the records in (from, to], oldest first, in batches. It
	// yields ErrTrimmed before anything else when the range is not complete,
	// and an error in place of the next batch when it cannot go on. The
	// deliveries are immutable and may be kept.
	Read(ctx context.Context, from, to Position) iter.Seq2[[]Delivery, error]

	// Nodes returns the nodes that are bound, this one first. When one ends or is
	// found dead, an envelope of kind Gone goes through the log, once; if it was
	// alive all the same it is listed again with a later Bound.
	Nodes(ctx context.Context) ([]Node, error)
}

// A SnapshotResolver finds where in the log an application read its state. A log whose
// state is kept beside it, in one database, can tell; others need not.
type SnapshotResolver interface {
	// ResolveSnapshot returns the place in the log that a bookmark names, which was made when an
	// application read its state: ErrSnapshot if it is not one of this log, ErrTrimmed if
	// the log does not reach back to it. A bookmark comes from clients: it is any text, of
	// any length.
	ResolveSnapshot(ctx context.Context, bookmark string) (StartPosition, error)
}

// A Node is what the others know of a bound node.
type Node struct {
	ID            string    // of its Local
	Name          string    // for people
	Started       time.Time // by the clock of the log
	Seen          time.Time // when it was last heard of, by the clock of the log
	StartPosition Position  // it is delivered the records after this one
	ReadPosition  Position  // how far it had read the log when it was last heard of
}

// Local is one node as its adapter sees it. The server implements it.
type Local interface {
	// ID returns a name that no other node ever has, and that does not change.
	ID() string

	// Deliver hands over records in log order, from one goroutine at a time,
	// which holds no lock: a server with a Parser runs it. Deliver does not block
	// on clients. The deliveries are immutable and may be kept by both sides.
	Deliver([]Delivery)

	// LogTruncated tells the node that the log has lost its end: it goes on after the given
	// offset, which lies before what was delivered last, with other records. Clients
	// stay connected. Called from the goroutine that calls Deliver.
	LogTruncated(at Offset)

	// LogGap tells the node that what its clients hold can no longer be
	// continued without a hole: it fell behind what the log keeps, or the
	// other nodes declared it dead meanwhile. The node cuts every connection
	// without a goodbye, so that the clients come back and are judged anew.
	// Deliveries go on after the given offset. Called from the goroutine that
	// calls Deliver.
	LogGap(at Offset, cause error)
}
