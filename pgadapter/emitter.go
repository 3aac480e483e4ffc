package pgadapter

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter"
)

// EmitterOptions configures an Emitter. The zero value suits most programs.
type EmitterOptions struct {
	// Schema is the schema where package migrations created the tables. Default: socketio.
	Schema string

	// Retention is the shortest Options.Retention of the nodes: an append without
	// an answer is repeated for half of it. Default: 5 minutes.
	Retention time.Duration

	// QueueEvents, QueueBytes, Linger and MaxEnvelope are as in Options.
	QueueEvents int
	QueueBytes  int
	Linger      time.Duration
	MaxEnvelope int

	// ConnectTimeout is as in Options.
	ConnectTimeout time.Duration

	// TraceAppend is as in Options.
	TraceAppend TraceAppend

	// Logger receives what no caller receives as an error. Default: slog.Default().
	Logger *slog.Logger
}

// An Emitter appends to the log of a cluster without being a node of it: for
// workers, scheduled jobs and command lines. Use it with socketio.NewEmitter. It has
// one connection, and makes the same promises for published events as a DB.
type Emitter struct {
	publisher *publisher
}

// OpenEmitter connects to the cluster whose tables are in the database at dsn, as in Open. A nil
// opts means the defaults. ctx bounds only OpenEmitter itself. The address may be that
// of a transaction-mode pooler.
func OpenEmitter(ctx context.Context, dsn string, opts *EmitterOptions) (*Emitter, error) {
	return connectEmitter(ctx, opts, func() (source, error) { return fromAddress(dsn) })
}

// NewEmitter is like OpenEmitter, with a connection made as pool makes its own, see New. The
// connection is one besides those of the pool, which stays the application's.
func NewEmitter(ctx context.Context, pool *pgxpool.Pool, opts *EmitterOptions) (*Emitter, error) {
	return connectEmitter(ctx, opts, func() (source, error) { return fromPool(pool) })
}

func connectEmitter(ctx context.Context, opts *EmitterOptions, from func() (source, error)) (*Emitter, error) {
	o := emitterOptions(opts)
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("pgadapter: Emitter%w", err)
	}
	s, err := from()
	if err != nil {
		return nil, fmt.Errorf("pgadapter: %w", err)
	}
	w := o.waiter()
	if err := prepare(ctx, s.config, w); err != nil {
		return nil, fmt.Errorf("pgadapter: %w", err)
	}
	e := &Emitter{}
	q := queriesFor(o.Schema)
	l := &dedicatedConn{config: s.config}
	var h head
	err = w.Wait(ctx, func(ctx context.Context) (err error) {
		h, err = firstHead(ctx, l, q, o.Schema)
		return err
	})
	if err != nil {
		l.drop()
		return nil, fmt.Errorf("pgadapter: %w", annotateSchemaErr(o.Schema, err))
	}
	e.publisher = newPublisher(&o, q, newSealer(h.log, h.key), l, noopReader{})
	e.publisher.start()
	return e, nil
}

func emitterOptions(opts *EmitterOptions) Options {
	var c EmitterOptions
	if opts != nil {
		c = *opts
	}
	o := Options{
		Schema: c.Schema, Retention: c.Retention, QueueEvents: c.QueueEvents, QueueBytes: c.QueueBytes,
		MaxEnvelope: c.MaxEnvelope, Linger: c.Linger, ConnectTimeout: c.ConnectTimeout, TraceAppend: c.TraceAppend,
		Logger: c.Logger, NodeName: "emitter",
	}
	return o.withDefaults()
}

// firstHead opens the connection of l, checks its settings and reads the head of the log.
func firstHead(ctx context.Context, l *dedicatedConn, q *queries, schema string) (head, error) {
	conn, _, err := l.open(ctx)
	if err != nil {
		return head{}, err
	}
	if err := checkSettings(ctx, q, conn); err != nil {
		return head{}, err
	}
	return readHead(ctx, q, schema, conn)
}

// Publish queues e and returns its Receipt. The order of the calls of one goroutine
// is the order in the log. The errors are those of adapter.Adapter's Publish. It is
// safe for concurrent use.
func (e *Emitter) Publish(ctx context.Context, env *adapter.Envelope) (*adapter.Receipt, error) {
	return e.publisher.publish(ctx, env)
}

// Close appends what was published and closes the connection. When ctx ends first,
// the receipts of what Postgres has not answered complete with adapter.ErrClosed.
func (e *Emitter) Close(ctx context.Context) error {
	err := e.publisher.close(ctx)
	e.publisher.opts.flushLog(ctx)
	return err
}
