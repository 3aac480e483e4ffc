package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

// ErrSchema reports a schema that this version of the package cannot use: missing,
// older, newer, or without privileges for the role. The text says what to do.
var ErrSchema = errors.New("unusable schema")

// errNodeGone reports that the row of this node is missing: another node declared it
// dead.
var errNodeGone = errors.New("the other nodes declared this node dead")

// SQLSTATEs that the SQL function check_fence raises.
const (
	stateNodeGone = "P0002"
	stateLogLost  = "PS001"
	stateMetaLost = "PS003"
)

// stateIdle is the SQLSTATE of a connection that idle_session_timeout closed.
const stateIdle = "57P05"

// sqlState returns the SQLSTATE of an error from Postgres, and "" for other errors. Those of the
// hooks of a pool have none here, see pgaddress.PostgresError.
func sqlState(err error) string {
	if pg := pgaddress.PostgresError(err); pg != nil {
		return pg.Code
	}
	return ""
}

// isRefusedConnection reports whether Postgres refused the connection: its SQLSTATE, which may
// come from a login trigger of the application, does not answer a statement of this package.
func isRefusedConnection(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// isNodeGone reports whether a statement found that the row of this node is missing.
func isNodeGone(err error) bool { return sqlState(err) == stateNodeGone && !isRefusedConnection(err) }

// class returns the class of a SQLSTATE, its first two characters.
func class(state string) string { return state[:min(2, len(state))] }

// isTransient reports whether the same statement may succeed later. An error without a
// SQLSTATE is a failed connection. A refused connection is always transient: a database may
// refuse connections for a while, or be replaced by another one of its name.
func isTransient(err error) bool {
	state := sqlState(err)
	if isRefusedConnection(err) || state == "" {
		return true
	}
	switch class(state) {
	case "08", // connection exception
		"28", // invalid credentials, which may be changing
		"25", // a transaction that a pooler aborted, or a server that became read-only
		"40", // serialization, deadlock
		"53", // insufficient resources
		"57", // shutdown, crash, startup, cancellation
		"58": // I/O error
		return true
	}
	switch state {
	case stateLogLost, // until this node has rewound
		"55P03", // lock_timeout
		"XX000": // internal error, seen while a server shuts down
		return true
	case "23505": // our own batch, invisible to an old snapshot
		return strings.HasSuffix(constraint(err), "_batch")
	case "26000", "42P05": // a prepared statement of another client of a pooler
		return true
	case "0A000": // a migration changed the result of a prepared statement: the next attempt prepares it again
		pg := pgaddress.PostgresError(err)
		return pg != nil && (pg.Routine == "RevalidateCachedQuery" || strings.Contains(pg.Message, "cached plan"))
	}
	return false
}

// isRefusal reports whether the error of Postgres proves that a statement had no effect.
// The end of a session proves nothing, nor does a batch that already exists.
func isRefusal(err error) bool {
	state := sqlState(err)
	if state == "" || state == "57014" { // query_canceled
		return state != ""
	}
	switch class(state) {
	case "08", "23", "57", "58", "XX":
		return false
	}
	return true
}

// exceedsResources reports whether a transaction may have failed because it was too large:
// it took too long, or exceeded a resource.
func exceedsResources(err error) bool {
	state := sqlState(err)
	return state == "57014" || strings.HasPrefix(state, "53") || errors.Is(err, context.DeadlineExceeded)
}

// queueFull reports whether an append may have failed because of its NOTIFY.
func queueFull(err error) bool { return sqlState(err) == "54000" }

func constraint(err error) string {
	if pg := pgaddress.PostgresError(err); pg != nil {
		return pg.ConstraintName
	}
	return ""
}

// annotateSchemaErr adds what to do to errors that a program meets first with an unusable
// schema, role or pooler.
func annotateSchemaErr(schema string, err error) error {
	if isRefusedConnection(err) {
		return err
	}
	switch sqlState(err) {
	case "42P01", "3F000", "42703", "42883":
		return fmt.Errorf("%w: schema %q has no tables of ours; create them with migrations.Up, or pgsocket migrate up: %w", ErrSchema, schema, err)
	case "PS002":
		return fmt.Errorf("default_transaction_isolation was changed, and the pooler does not pass the setting of this program on; set it to \"read committed\" for the role: %w", err)
	case stateMetaLost:
		return errMetaLost(schema)
	case "26000", "42P05":
		return fmt.Errorf("the pooler mixes prepared statements of different clients; add default_query_exec_mode=exec to the address: %w", err)
	case "42501":
		return fmt.Errorf("%w: the role lacks privileges on schema %q, see package migrations; pgsocket doctor prints the grants: %w", ErrSchema, schema, err)
	}
	return err
}

// errMetaLost reports that the table meta is empty, as after a dump of the structure alone.
func errMetaLost(schema string) error {
	return fmt.Errorf("%w: table meta of schema %q has lost its only row; migrations.Up, or pgsocket migrate up, restores it", ErrSchema, schema)
}

// explainDirty returns err, or that a migration broke off, if a migration tool has marked the schema dirty.
func explainDirty(ctx context.Context, schema string, q querier, err error) error {
	var version int64
	noted := q.QueryRow(ctx, "select version from "+pgx.Identifier{schema, "socketio_migrations"}.Sanitize()+" where dirty").Scan(&version)
	if noted != nil {
		return err
	}
	return fmt.Errorf("%w: the migration of schema %q to version %d broke off; run migrations.Up, or pgsocket migrate up, to continue it", ErrSchema, schema, version)
}

// A backoff is the pause between attempts: it starts at low and doubles up to high, with
// jitter so that nodes do not retry in step.
type backoff struct {
	low, high time.Duration
	next      time.Duration
}

// wait waits until the next attempt. It returns false if ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, b.low), b.high)
	timer := time.NewTimer(b.next/2 + rand.N(b.next/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryTransient calls ask up to five times, while its error is transient.
func retryTransient(ctx context.Context, ask func() error) error {
	pause := backoff{low: 20 * time.Millisecond, high: 200 * time.Millisecond}
	for attempt := 1; ; attempt++ {
		err := ask()
		if err == nil || attempt == 5 || !isTransient(err) || !pause.wait(ctx) {
			return err
		}
	}
}

// reset makes the next pause the first one.
func (b *backoff) reset() { b.next = 0 }
