package pgadapter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// errKind reports an envelope that applications do not emit.
var errKind = errors.New("not an event")

// A Tx is what EmitTx needs of a transaction. A pgx.Tx is one; SQLTx makes one of a
// *sql.Tx.
type Tx interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// SQLTx returns tx as EmitTx takes it.
func SQLTx(tx *sql.Tx) Tx { return sqlTx{tx} }

type sqlTx struct{ tx *sql.Tx }

// QueryRow implements Tx.
func (t sqlTx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// EmitOptions configures EmitTx. The zero value is right for most.
type EmitOptions struct {
	// Schema is where package migrations put the tables. Default: socketio.
	Schema string

	// Key makes the event happen once: of the emits of one database role with one
	// key, for the retention from the commit on, only one that is committed is told
	// true. Roles do not share keys. An emit waits for
	// the end of an open transaction that has used its key.
	// Default: every emit is an event of its own.
	Key string

	// Ring has the event adopted at the commit, rather than when a node looks
	// for it. It saves some milliseconds and costs a NOTIFY, which makes
	// commits wait for each other and PREPARE TRANSACTION fail.
	// Default: false.
	Ring bool
}

// EmitTx emits an event inside of a transaction of the application: it exists if
// the transaction commits, and takes its place in the log right after. No server
// needs to run in this process. Get the envelope from socketio's Event.Envelope.
//
//	e, err := Posted.Envelope(io.To("lobby"), post)
//	…
//	emitted, err := pgadapter.EmitTx(ctx, tx, e, nil)
//
// It returns false if an event with the same Key was emitted before, or if the
// envelope is for nobody, and nothing was done. Without a Key it waits for nothing but the answer of Postgres.
func EmitTx(ctx context.Context, tx Tx, e *adapter.Envelope, opts *EmitOptions) (bool, error) {
	var o EmitOptions
	if opts != nil {
		o = *opts
	}
	setDefault(&o.Schema, "socketio")
	if e.Kind != adapter.Event && e.Kind != adapter.Volatile {
		return false, fmt.Errorf("emit: %w", errKind)
	}
	if e.Audience.IsNobody() {
		return false, nil
	}
	if !fits(e) {
		return false, fmt.Errorf("emit: %w: %w", adapter.ErrTooLarge, errNames)
	}
	var emitted bool
	err := tx.QueryRow(ctx, emitQuery(o.Schema), appendPacket(nil, e), o.Key, o.Ring).Scan(&emitted)
	switch {
	case sqlStateOf(err) == "54000":
		return false, fmt.Errorf("emit: %w: %w", adapter.ErrTooLarge, err)
	case err != nil:
		return false, fmt.Errorf("emit: %w", annotateSchemaErr(o.Schema, err))
	}
	return emitted, nil
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
