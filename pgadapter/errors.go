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
)

// ErrSchema reports a schema that this version of the package cannot work with:
// missing, older, newer, or out of reach for the role. The text says what to do.
var ErrSchema = errors.New("unusable schema")

// errNodeGone reports that the row of this node is missing: the others thought
// it dead.
var errNodeGone = errors.New("the other nodes declared this node dead")

// What the function check_fence raises.
const (
	stateNodeGone = "P0002"
	stateLogLost  = "PS001"
	stateMetaLost = "PS003"
)

// stateIdle is that of a connection that idle_session_timeout closed.
const stateIdle = "57P05"

// sqlState returns the SQLSTATE of an answer of Postgres, "" for anything else.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// isTransient reports whether the same statement may succeed later. Without a
// SQLSTATE the connection failed, and it may. It also may when Postgres refused the connection, for
// whatever reason: a database may take none for a while, or be replaced by another of its name.
func isTransient(err error) bool {
	state := sqlState(err)
	if _, refused := errors.AsType[*pgconn.ConnectError](err); refused || state == "" {
		return true
	}
	switch state[:2] {
	case "08", // connection trouble
		"28", // credentials that are being changed
		"25", // a transaction that died under a pooler, or a server that became read-only
		"40", // serialization, deadlock
		"53", // out of resources
		"57", // shutdown, crash, starting up, cancelled
		"58": // I/O
		return true
	}
	switch state {
	case stateLogLost, // until this node has noticed and gone back
		"55P03", // lock_timeout
		"XX000": // internal error, met while a server goes down
		return true
	case "23505": // our own batch, seen too late by an old snapshot
		return strings.HasSuffix(constraint(err), "_batch")
	case "26000", "42P05": // a prepared statement that a pooler mixed up
		return true
	case "0A000": // a migration has changed what a prepared statement returns: the next attempt prepares it anew
		pg, ok := errors.AsType[*pgconn.PgError](err)
		return ok && (pg.Routine == "RevalidateCachedQuery" || strings.Contains(pg.Message, "cached plan"))
	}
	return false
}

// isRefusal reports whether Postgres has answered that a statement had no effect. What
// ends a session says nothing of that, nor does a batch that is there already.
func isRefusal(err error) bool {
	state := sqlState(err)
	if state == "" || state == "57014" { // cancelled
		return state != ""
	}
	switch state[:2] {
	case "08", "23", "57", "58", "XX":
		return false
	}
	return true
}

// exceedsResources reports whether a transaction may have failed because it asked for too much:
// it took too long, or more than a resource has.
func exceedsResources(err error) bool {
	state := sqlState(err)
	return state == "57014" || strings.HasPrefix(state, "53") || errors.Is(err, context.DeadlineExceeded)
}

// queueFull reports whether an append may have failed because of its NOTIFY.
func queueFull(err error) bool { return sqlState(err) == "54000" }

func constraint(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.ConstraintName
	}
	return ""
}

// annotateSchemaErr turns the first error that a server meets in a schema into what to do
// about it.
func annotateSchemaErr(schema string, err error) error {
	switch sqlState(err) {
	case "42P01", "3F000", "42703", "42883":
		return fmt.Errorf("%w: schema %q has no tables of ours; create them with migrations.Up: %w", ErrSchema, schema, err)
	case "PS002":
		return fmt.Errorf("default_transaction_isolation was changed, and the pooler does not let this program choose; set it to \"read committed\" for the role: %w", err)
	case stateMetaLost:
		return errMetaLost(schema)
	case "26000", "42P05":
		return fmt.Errorf("a pooler does not keep prepared statements apart; put default_query_exec_mode=exec into the address: %w", err)
	case "42501":
		return fmt.Errorf("%w: the role lacks privileges on schema %q, see package migrations: %w", ErrSchema, schema, err)
	}
	return err
}

// errMetaLost says that the table meta is empty, as a dump of the structure alone leaves it.
func errMetaLost(schema string) error {
	return fmt.Errorf("%w: table meta of schema %q has lost its only row; migrations.Up, or pgsocket migrate up, puts it back", ErrSchema, schema)
}

// explainDirty adds to err what a tool may have noted: that a migration of its broke off.
func explainDirty(ctx context.Context, schema string, q querier, err error) error {
	var version int64
	noted := q.QueryRow(ctx, "select version from "+pgx.Identifier{schema, "socketio_migrations"}.Sanitize()+" where dirty").Scan(&version)
	if noted != nil {
		return err
	}
	return fmt.Errorf("the migration of schema %q to version %d broke off; migrations.Up, or pgsocket migrate up, goes on from what is there: %w", schema, version, err)
}

// A backoff spaces out attempts: from low, doubling, up to high, with jitter
// lest all nodes come at once.
type backoff struct {
	low, high time.Duration
	next      time.Duration
}

// wait waits for the next attempt, or returns false because ctx ended.
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

// retryTransient asks up to five times, as long as the error may pass.
func retryTransient(ctx context.Context, ask func() error) error {
	pause := backoff{low: 20 * time.Millisecond, high: 200 * time.Millisecond}
	for attempt := 1; ; attempt++ {
		err := ask()
		if err == nil || attempt == 5 || !isTransient(err) || !pause.wait(ctx) {
			return err
		}
	}
}

// reset makes the next attempt a first one.
func (b *backoff) reset() { b.next = 0 }
