package pgadapter

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/internal/pgaddress"
)

// Options configures a DB. The zero value suits most programs.
type Options struct {
	// Schema is the schema where package migrations created the tables. Default: socketio.
	Schema string

	// NodeName is the name of the node in the table nodes, for operators; it need
	// not be unique. Default: the host name.
	NodeName string

	// ListenDSN is the address for the connection that listens. Set it to the
	// direct address of Postgres when the other address leads to a transaction-mode
	// pooler. If notifications do not arrive, the node polls the log as with PollOnly,
	// and Health returns an error. With New, the connection to this address has the tracer,
	// the DialFunc, the LookupFunc, OnNotice and the hooks of the pool; BeforeConnect may
	// change anything else, such as TLS. Default: the address given to Open, or of the pool.
	ListenDSN string

	// PollOnly polls the log every PollInterval instead of listening, for
	// databases that can only be reached through a transaction-mode pooler.
	// Default: false.
	PollOnly bool

	// PollInterval is the time between two reads of the log, and of the outbox of
	// events emitted from SQL, when no notification arrives. It is at most a quarter
	// of Retention. Default: 20 ms with PollOnly, else 1 s.
	PollInterval time.Duration

	// RelayInterval is the time between two checks of the outbox for events that
	// were emitted from SQL, while no node appends to the log (an append relays them
	// as well). It bounds the delay of such an event after its commit, half of it
	// on average, while SQL emits regularly: one node of the cluster checks again
	// after this time, or after a twentieth of the time since the last such event
	// if that is longer. If that is longer than a second, only the polls of all
	// nodes check, see PollInterval. Default: 25 ms, which is at most 40
	// statements/s for the whole cluster, and none when SQL emits nothing.
	RelayInterval time.Duration

	// Retention is the minimum time that events are kept for clients that
	// reconnect. The longest of all nodes counts. Default: 5 minutes.
	Retention time.Duration

	// Lease is the time without a heartbeat after which other nodes take over the
	// sessions of this node, and the time that this node continues without an answer
	// from Postgres. Default: 10 s.
	Lease time.Duration

	// Heartbeat is the time between two heartbeats; at most half of Lease.
	// Default: a fifth of Lease.
	Heartbeat time.Duration

	// TailBytes bounds the memory for recent events, from which reconnecting
	// clients are served without a query. Older events that clients ask for are
	// read once for all clients, into a cache of a quarter of TailBytes in addition,
	// and for histories of rooms (socketio.History) into one of an eighth.
	// Default: 64 MiB.
	TailBytes int

	// QueueEvents and QueueBytes bound the events that wait to be appended; when
	// they are reached, Publish waits. Defaults: 65,536 and 64 MiB.
	QueueEvents int
	QueueBytes  int

	// QueueWrites bounds the changes of sessions that wait to be written. When it is
	// reached, new and returning clients wait, and so do Join, Leave, Disconnect and
	// Data.Set of a socket, before they change anything. Changes that can no longer
	// be refused are written beyond the bound: operations on audiences, and the
	// ends of sessions, a few at most for each. Default: 65,536.
	QueueWrites int

	// MaxParked bounds the sessions in the cluster whose clients are disconnected,
	// with their rooms and data. Beyond it, the sessions that would expire first are
	// deleted, OnExpired runs for each, and their clients start new sessions. The
	// sweep enforces it, once per Lease or per quarter of Retention, whichever is
	// less; until then more sessions may exist. The least of all nodes counts.
	// Default: 1,000,000. Each takes about 400 bytes of disk, and more with rooms.
	MaxParked int

	// Linger is how long an event that no caller waits for (EmitAsync, until
	// Receipt.Wait is called; volatile targets) may wait for other events to share an
	// append with: the appends of such events begin at least this time apart. An
	// event after a pause is not delayed, nor is a batch of more than 64. A negative
	// value disables the delay. Default: 30 ms.
	Linger time.Duration

	// MaxEnvelope is the largest envelope in bytes; Publish refuses a larger one
	// with adapter.ErrTooLarge. Default: 8 MiB.
	MaxEnvelope int

	// ConnectTimeout is how long Open waits for a Postgres that does not accept
	// connections: one that is down or starting, that has no free connection, or
	// that refuses the user or the password, which may be new. With New it also waits while
	// BeforeConnect returns an error. The first failed attempt is logged, and then one
	// every five seconds. A negative value disables the wait. Default: 30 s.
	ConnectTimeout time.Duration

	// MaxConns bounds the pool for everything except listening and appending,
	// which have a connection each; pool_max_conns in the address, and the maximum of the
	// pool given to New, are ignored. Clients
	// that resume from a snapshot token use at most half of it; others wait. Default: 6.
	MaxConns int

	// TraceAppend observes each append of records that carry a trace: their TraceContext, of at
	// most 128. An append has the records of many callers. The context that it returns, which is
	// derived from ctx, has the values for the statement, for the tracer of a pool given to New;
	// end is called with the result. While one of them blocks, nothing is appended; Close waits
	// for it no longer than its context. If they panic, that is logged, and the records are
	// appended. Default: none.
	TraceAppend TraceAppend

	// Logger receives what no caller receives as an error. Its handler runs in its
	// own goroutine, and gets at most 10 lines of one text per second; the next line
	// reports how many were suppressed. Default: slog.Default().
	Logger *slog.Logger

	frames byte // the newest frame version that the node reads, and that it writes if all nodes read it
}

// waiter returns what waits until Postgres accepts connections, or ConnectTimeout is over.
func (o *Options) waiter() *pgaddress.Waiter {
	return &pgaddress.Waiter{Timeout: o.ConnectTimeout, Logger: o.Logger}
}

// logsPerSecond bounds the log lines of one text per second.
const logsPerSecond = 10

// flushLog waits until the logged lines are written, or ctx ends.
func (o *Options) flushLog(ctx context.Context) { boundary.NewLog(o.Logger, logsPerSecond).Flush(ctx) }

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.NodeName == "" {
		c.NodeName, _ = os.Hostname() // the name may be empty
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = boundary.NewLog(c.Logger, logsPerSecond).Logger
	poll := time.Second
	if c.PollOnly {
		poll = pollOnlyInterval
	}
	setDefault(&c.Schema, "socketio")
	setDefault(&c.PollInterval, poll)
	setDefault(&c.RelayInterval, 25*time.Millisecond)
	setDefault(&c.Retention, 5*time.Minute)
	// Batches without a notification must not be trimmed before the node has read them.
	c.PollInterval = min(c.PollInterval, max(c.Retention/4, time.Millisecond))
	setDefault(&c.Lease, 10*time.Second)
	setDefault(&c.Heartbeat, c.Lease/5)
	setDefault(&c.TailBytes, 64<<20)
	setDefault(&c.QueueEvents, 1<<16)
	setDefault(&c.QueueBytes, 64<<20)
	setDefault(&c.QueueWrites, 1<<16)
	setDefault(&c.MaxParked, 1_000_000)
	setDefault(&c.Linger, 30*time.Millisecond)
	setDefault(&c.MaxEnvelope, 8<<20)
	setDefault(&c.MaxConns, 6)
	setDefault(&c.frames, frameVersion)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) validate() error {
	switch {
	case len(o.Schema) > 63 || !isText(o.Schema):
		return fmt.Errorf("Options.Schema: %q is not a valid name of a schema", o.Schema)
	case o.PollInterval < time.Millisecond:
		return fmt.Errorf("Options.PollInterval: %v is below 1ms", o.PollInterval)
	case o.RelayInterval < time.Millisecond:
		return fmt.Errorf("Options.RelayInterval: %v is below 1ms", o.RelayInterval)
	case o.Retention < 100*time.Millisecond:
		return fmt.Errorf("Options.Retention: %v is below 100ms", o.Retention)
	case o.Lease < 100*time.Millisecond:
		return fmt.Errorf("Options.Lease: %v is below 100ms", o.Lease)
	case o.Heartbeat < 0 || o.Heartbeat > o.Lease/2:
		return fmt.Errorf("Options.Heartbeat: %v is not between 0 and half the lease", o.Heartbeat)
	case o.TailBytes < 0:
		return fmt.Errorf("Options.TailBytes: %d is negative", o.TailBytes)
	case o.QueueEvents < 1:
		return fmt.Errorf("Options.QueueEvents: %d is below 1", o.QueueEvents)
	case o.MaxEnvelope < 1 || o.MaxEnvelope > 256<<20:
		return fmt.Errorf("Options.MaxEnvelope: %d is not between 1 and 256 MiB", o.MaxEnvelope)
	case o.QueueBytes < o.MaxEnvelope:
		return fmt.Errorf("Options.QueueBytes: %d is below MaxEnvelope, %d", o.QueueBytes, o.MaxEnvelope)
	case o.QueueWrites < 1:
		return fmt.Errorf("Options.QueueWrites: %d is below 1", o.QueueWrites)
	case o.MaxParked < 1:
		return fmt.Errorf("Options.MaxParked: %d is below 1", o.MaxParked)
	case o.MaxConns < 1:
		return fmt.Errorf("Options.MaxConns: %d is below 1", o.MaxConns)
	}
	return nil
}
