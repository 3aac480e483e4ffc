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

// Options configures a DB. The zero value is right for most.
type Options struct {
	// Schema is where package migrations put the tables. Default: socketio.
	Schema string

	// NodeName names the node to people who look at the nodes table; it need
	// not be unique. Default: the host's name.
	NodeName string

	// ListenDSN is the address for the one connection that listens. Give the
	// address of Postgres itself here when the other one leads through a
	// transaction-mode pooler. Where notifications do not arrive the log is polled as
	// with PollOnly, and Health says so. Default: the address that Open is given.
	ListenDSN string

	// PollOnly reads the log at every PollInterval instead of listening, for
	// databases that can only be reached through a transaction-mode pooler.
	// Default: false.
	PollOnly bool

	// PollInterval is how long the reader waits between two looks at the log,
	// and at what SQL has emitted, when no bell rings; a quarter of the
	// Retention at most. Default: 20 ms with PollOnly, else 1 s.
	PollInterval time.Duration

	// RelayInterval is how soon what was emitted from SQL is looked for while
	// nobody appends to the log, who looks as well. It bounds how long such an
	// event waits after its commit, half of it on average, as long as others
	// came lately: one node of the cluster looks again after this time, or
	// after a twentieth of the time since the last one if that is more. When
	// that would be more than a second nobody looks but for the polls of all
	// nodes, see PollInterval. Default: 25 ms, which is at most 40
	// statements/s for the whole cluster, and none when SQL emits nothing.
	RelayInterval time.Duration

	// Retention is how long events are kept at least for clients that come
	// back. The longest of all nodes counts. Default: 5 minutes.
	Retention time.Duration

	// Lease is for how long the others wait for this node when it is silent,
	// before they take its sessions, and for how long it goes on when it hears
	// nothing from Postgres. Default: 10 s.
	Lease time.Duration

	// Heartbeat is how often the node says that it is alive; at most half the
	// Lease. Default: a fifth of the Lease.
	Heartbeat time.Duration

	// TailBytes bounds the memory for recent events, from which clients that
	// come back are served without a query; for older ones that they ask for,
	// read once for all of them, there is a quarter on top. Default: 64 MiB.
	TailBytes int

	// QueueEvents and QueueBytes bound what waits to be appended; Publish
	// waits beyond. Defaults: 65,536 and 64 MiB.
	QueueEvents int
	QueueBytes  int

	// QueueWrites bounds the changes of sessions that wait to be written. Beyond,
	// new and returning clients wait, and so do Join, Leave, Disconnect and Data.Set
	// of a socket, before they change anything. What cannot be refused any more is
	// written all the same: operations of the log on audiences, and the ends of
	// sessions, a few at most for each. Default: 65,536.
	QueueWrites int

	// MaxParked bounds the sessions in the cluster whose clients are away, with
	// their rooms and data: beyond, those that would expire first are over, of
	// which OnExpired is told, and their clients start anew. It is looked after
	// at every sweep, once in the Lease or in a quarter of the Retention, if that
	// is less; until then more may be written. The least of all nodes counts.
	// Default: 1,000,000, of which each takes about 400 bytes of disk and more if
	// it has rooms.
	MaxParked int

	// Linger is for how long an event that nobody waits for (EmitAsync, until
	// Receipt.Wait is called; volatile targets) may wait for others to share an
	// append with: the appends of such events begin at least so far apart. One
	// that comes after a pause is not held back, nor is a batch of more than 64.
	// Negative: never. Default: 30 ms.
	Linger time.Duration

	// MaxEnvelope is the size in bytes from which Publish refuses an envelope
	// with adapter.ErrTooLarge. Default: 8 MiB.
	MaxEnvelope int

	// ConnectTimeout is how long Open waits for a Postgres that does not accept
	// connections: one that is not up yet or is starting, that has no connection
	// left, or that refuses the user or the password, which may be new. The log tells of it. Negative: not at
	// all. Default: 30 s.
	ConnectTimeout time.Duration

	// MaxConns bounds the pool for everything but listening and appending,
	// which have a connection each; pool_max_conns in the address does not count. Clients
	// that follow from a bookmark take half of it at most, and wait beyond. Default: 6.
	MaxConns int

	// Logger hears what no caller is told. Its handler runs in a goroutine of its
	// own, and gets at most 10 lines of one text in a second; the next one says how
	// many were suppressed. Default: slog.Default().
	Logger *slog.Logger

	frames byte // the newest version of a frame that the node reads, and writes if all do
}

// wait tries until Postgres accepts a connection, or ConnectTimeout is over.
func (o *Options) wait(ctx context.Context, try func(context.Context) error) error {
	return pgaddress.Wait(ctx, o.ConnectTimeout, o.Logger, try)
}

// logsPerSecond bounds the log lines of one text.
const logsPerSecond = 10

// flushLog waits for the lines that were logged, or until ctx ends.
func (o *Options) flushLog(ctx context.Context) { boundary.NewLog(o.Logger, logsPerSecond).Flush(ctx) }

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.NodeName == "" {
		c.NodeName, _ = os.Hostname() // a node without a name works too
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
	// What no bell rings for must not be trimmed before the node has read it.
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
		return fmt.Errorf("Options.Schema: %q cannot be the name of a schema", o.Schema)
	case o.PollInterval < time.Millisecond:
		return fmt.Errorf("Options.PollInterval: %v is below 1ms", o.PollInterval)
	case o.RelayInterval < time.Millisecond:
		return fmt.Errorf("Options.AdoptInterval: %v is below 1ms", o.RelayInterval)
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
