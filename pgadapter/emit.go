package pgadapter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/internal/boundary"
)

// maxSQLEvent is the size of an event that the SQL functions accept, in bytes of its frame.
const maxSQLEvent = 1 << 20

// errKind reports an envelope of a kind that applications cannot emit.
var errKind = errors.New("not an event")

// A Tx is the transaction that EmitTx uses. A pgx.Tx implements it; for a *sql.Tx, see
// SQLTx.
type Tx interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// SQLTx adapts tx for EmitTx.
func SQLTx(tx *sql.Tx) Tx { return sqlTx{tx} }

type sqlTx struct{ tx *sql.Tx }

// QueryRow implements Tx.
func (t sqlTx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// EmitOptions configures EmitTx. The zero value suits most programs.
type EmitOptions struct {
	// Schema is the schema where package migrations created the tables. Default: that of the DB or
	// Emitter whose method is called, and socketio for the function EmitTx.
	Schema string

	// Key makes the event idempotent: of the committed emits of one database role
	// with the same key, within Options.Retention of the commit, only one returns
	// true. Roles do not share keys. An emit waits for the end of an open transaction
	// that has used its key. Default: no key, every emit is a separate event.
	Key string

	// Notify sends a notification at the commit, so that a node relays the event at
	// once rather than at its next check of the outbox. It saves some milliseconds
	// and costs a NOTIFY, which serializes commits and makes PREPARE TRANSACTION fail.
	// Default: false.
	Notify bool

	// TraceContext returns the Envelope.TraceContext for the trace that ctx is part of, or "".
	// EmitTx calls it for an envelope without one, so that the delivery of the event continues
	// the caller's trace, as socketio.Options.Tracer has it. If it panics, slog.Default receives
	// a line. The event is emitted without a trace context that is not valid, see
	// adapter.ValidTraceContext, and without one for which it has no space. Default: the event
	// belongs to no trace.
	TraceContext func(ctx context.Context) string
}

// EmitTx emits an event inside a transaction of the application: the event exists if
// the transaction commits, and enters the log right after. No server needs to run in
// this process. Event.Envelope of package socketio returns the envelope.
//
//	e, err := Posted.Envelope(io.To("lobby"), post)
//	…
//	emitted, err := pgadapter.EmitTx(ctx, tx, e, nil)
//
// It returns false without an effect if an event with the same Key was emitted before, or
// if the audience of the envelope is empty. Without a Key it waits only for the answer of
// Postgres. An event of more than 1 MiB fails with adapter.ErrTooLarge, before anything is sent
// to Postgres, and an unusable schema with ErrSchema, which aborts the transaction.
//
// The event goes to the schema that opts name. Where there is a DB or an Emitter, its method of
// the same name takes the schema from there.
func EmitTx(ctx context.Context, tx Tx, e *adapter.Envelope, opts *EmitOptions) (bool, error) {
	o := opts.inSchema("socketio")
	if e == nil || e.Kind != adapter.Event && e.Kind != adapter.Volatile {
		return false, fmt.Errorf("emit: %w", errKind)
	}
	if e.Audience.IsNobody() {
		return false, nil
	}
	if !fits(e) {
		return false, fmt.Errorf("emit: %w: %w", adapter.ErrTooLarge, errNames)
	}
	e = o.traced(ctx, e)
	packet := appendPacket(nil, e)
	if len(packet) > maxSQLEvent && e.TraceContext != "" {
		packet = appendPacket(nil, e.WithoutTraceContext())
	}
	if len(packet) > maxSQLEvent {
		return false, fmt.Errorf("emit: %w: %d bytes, at most %d in a transaction", adapter.ErrTooLarge, len(packet), maxSQLEvent)
	}
	var emitted bool
	err := tx.QueryRow(ctx, emitQuery(o.Schema), packet, o.Key, o.Notify).Scan(&emitted)
	switch {
	case sqlStateOf(err) == "54000":
		return false, fmt.Errorf("emit: %w: %w", adapter.ErrTooLarge, err)
	case err != nil:
		return false, fmt.Errorf("emit: %w", annotateSchemaErr(o.Schema, err))
	}
	return emitted, nil
}

// EmitTx is the function EmitTx for the schema of db. It uses no connection of db.
func (db *DB) EmitTx(ctx context.Context, tx Tx, e *adapter.Envelope, opts *EmitOptions) (bool, error) {
	return EmitTx(ctx, tx, e, opts.inSchema(db.opts.Schema))
}

// EmitTx is the function EmitTx for the schema of the emitter. It uses no connection of the emitter.
func (e *Emitter) EmitTx(ctx context.Context, tx Tx, env *adapter.Envelope, opts *EmitOptions) (bool, error) {
	return EmitTx(ctx, tx, env, opts.inSchema(e.publisher.opts.Schema))
}

// traced returns e, or a copy with the context of the trace that ctx is part of.
func (o *EmitOptions) traced(ctx context.Context, e *adapter.Envelope) *adapter.Envelope {
	if o.TraceContext == nil || e.TraceContext != "" {
		return e
	}
	traced := *e
	if err := boundary.Do(func() { traced.TraceContext = o.TraceContext(ctx) }); err != nil {
		slog.Default().ErrorContext(ctx, "TraceContext failed", slog.Any("error", err))
	}
	return &traced
}

// inSchema returns o, which may be nil, with a default for the schema.
func (o *EmitOptions) inSchema(schema string) *EmitOptions {
	var c EmitOptions
	if o != nil {
		c = *o
	}
	setDefault(&c.Schema, schema)
	return &c
}

// emitQuery returns the statement for one schema.
func emitQuery(schema string) string { return loadQuery("emit", schema) }

// sqlStateOf is sqlState for the errors of any driver of database/sql.
func sqlStateOf(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) {
		return coded.SQLState()
	}
	return ""
}
