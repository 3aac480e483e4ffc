package adapter

import (
	"context"
	"errors"
	"iter"
	"time"
)

// ErrTrimmed reports that the requested part of the log is no longer kept.
var ErrTrimmed = errors.New("requested part of the log is no longer kept")

// ErrSnapshot reports a text that is not a snapshot token of this log.
var ErrSnapshot = errors.New("not a snapshot token of this log")

// ErrClosed reports that the adapter has been closed.
var ErrClosed = errors.New("adapter closed")

// ErrQueueFull reports that an envelope was refused because the queue of
// envelopes to be written to the log was full until the caller's ctx ended.
var ErrQueueFull = errors.New("queue of envelopes for the log is full")

// ErrWithdrawn is the result of a Receipt whose Withdraw has returned true.
var ErrWithdrawn = errors.New("withdrawn before it was sent to the log")

// ErrTooLarge reports that an envelope is larger than the log accepts.
var ErrTooLarge = errors.New("envelope too large for the log")

// An Adapter connects one node to the log that all nodes share.
//
// Its methods may be called from any goroutine.
type Adapter interface {
	// Bind attaches the node. It is called once, before any other method. From
	// then on Nodes lists the node on every node. Deliveries begin with the
	// first record after the returned offset. They may begin before Bind
	// returns, from another goroutine. It has no ctx: if it asks a database, it bounds
	// the time itself.
	Bind(Local) (Offset, error)

	// Publish queues e and returns its Receipt. Envelopes published by one
	// goroutine are in the log in the order of its calls. Publish waits while
	// the queue is full; if ctx ends first, it returns ErrQueueFull wrapping
	// the cause of ctx, and e is not queued.
	Publish(ctx context.Context, e *Envelope) (*Receipt, error)

	// WaitDelivered returns nil when every envelope that this node published before
	// the call, and that is in the log, has been delivered to this node.
	WaitDelivered(ctx context.Context) error

	Reader

	// Nodes returns the bound nodes, this one first. When a node closes or is
	// declared dead, the adapter publishes one envelope of kind NodeLeft. If the
	// node was alive, it is listed again, with a greater StartPosition.
	Nodes(ctx context.Context) ([]Node, error)
}

// A Reader reads the log.
type Reader interface {
	// Read yields the records in (from, to], oldest first, in batches. If the
	// log does not keep the whole range, it yields ErrTrimmed and no batch. If
	// it fails later, it yields the error in place of the next batch. The range
	// includes every record whose Receipt completed on any node, or that was
	// delivered to any node, before the call; it does not wait for records after
	// the end of the log. The deliveries are immutable and may be retained.
	Read(ctx context.Context, from, to Position) iter.Seq2[[]Delivery, error]

	// ReadRoom yields the records of the log up to the position to, newest first: all
	// events (kind Event) whose audience names the room, and possibly other records of
	// any kind, which the caller skips. An adapter that finds the room's records without
	// reading the others yields no others, so what it yields is about what it reads.
	//
	// The caller stops when it has enough. If ReadRoom comes to the beginning of what the
	// log keeps, and that is not the beginning of the log, it yields ErrTrimmed last. It
	// yields any other error at which it fails last, too. The node has been given the
	// record at to, or is being given it. The deliveries are immutable and may be
	// retained.
	ReadRoom(ctx context.Context, namespace, room string, to Position) iter.Seq2[PastDelivery, error]
}

// A SnapshotResolver finds the position in the log at which an application read its
// state. An adapter may implement it if log and state are in one database.
type SnapshotResolver interface {
	// ResolveSnapshot returns the start position for a snapshot token, which an
	// application obtained when it read its state. It returns ErrSnapshot if the token
	// is not one of this log, and ErrTrimmed if the log no longer keeps every record
	// after it. Clients supply the token: it may be any text of any length.
	ResolveSnapshot(ctx context.Context, token string) (StartPosition, error)
}

// A Node describes a bound node to the other nodes.
type Node struct {
	ID            string    // the ID of its Local
	Name          string    // a name for people
	Started       time.Time // when it started, by the clock of the log
	Seen          time.Time // when it last reported, by the clock of the log
	StartPosition Position  // it receives the records after this position
	ReadPosition  Position  // how far it had read the log when it last reported
}

// Local is the node that an adapter delivers to. The server implements it.
type Local interface {
	// ID returns the node's name. It is unique among all nodes, past ones included, and
	// does not change.
	ID() string

	// Deliver passes records to the node in log order. The adapter calls it from one
	// goroutine at a time, which holds no lock, because Deliver may run an application's
	// Parser. Deliver does not wait for clients. The deliveries are immutable; the
	// adapter and the node may retain them.
	Deliver([]Delivery)

	// LogTruncated reports that the log has lost its last records: it continues after
	// the given offset, which precedes the last delivery, with other records. Clients
	// stay connected. It is called from the goroutine that calls Deliver.
	LogTruncated(at Offset)

	// LogGap reports that deliveries cannot continue without a gap: the node fell
	// behind the records that the log keeps, or the other nodes declared it dead. The
	// node closes every connection without a DISCONNECT packet, so that the clients
	// reconnect and the continuity of their sessions is checked again. Deliveries
	// continue after the given offset. It is called from the goroutine that calls
	// Deliver.
	LogGap(at Offset, cause error)
}
