package migrations

import (
	"context"
	_ "embed" // for the statements
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

var (
	//go:embed structure.sql
	structureSQL string
	//go:embed trust.sql
	trustSQL string
	//go:embed denied.sql
	deniedSQL string
	//go:embed contents.sql
	contentsSQL string
	//go:embed restore_meta.sql
	restoreMetaSQL string
)

// bookkeeping is the table for tools that keep one; what Up goes by is the structure itself.
const bookkeeping = "socketio_migrations"

// A target is where migrations run, and how.
type target struct {
	*Options // with defaults

	config *pgxpool.Config
	waiter *pgaddress.Waiter
}

// connect connects, and waits for Postgres as Options.ConnectTimeout says.
func (t *target) connect(ctx context.Context) (*pgx.Conn, error) {
	var conn *pgx.Conn
	err := t.waiter.Wait(ctx, func(ctx context.Context) (err error) {
		conn, err = pgaddress.Connect(ctx, t.config)
		return err
	})
	return conn, err
}

func (t *target) hangUp(ctx context.Context, conn *pgx.Conn) {
	_ = pgaddress.Close(context.WithoutCancel(ctx), t.config, conn) // also after ctx has ended
}

// settings are those of the transaction: a migration depends on none of the role or the database, and the time-outs
// that these set are for statements of an application.
const settings = `
begin isolation level read committed read write;
set local standard_conforming_strings = on;
set local check_function_bodies = on;
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
set local lock_timeout = '1min';
set local row_security = off;
set local plpgsql.extra_errors = 'none';
set local plpgsql.extra_warnings = 'none';
set local plpgsql.variable_conflict = 'error';
set local client_min_messages = warning;
select set_config(s.name, '0', true) from pg_catalog.pg_settings s where s.name = 'transaction_timeout'`

// transact runs do in one transaction, in the schema, while no other call does; it is repeated when
// another one created the schema at the same moment, or when it lost a deadlock against a node that runs.
func (t *target) transact(ctx context.Context, ensure bool, do func(context.Context, *transaction) error) error {
	conn, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer t.hangUp(ctx, conn)
	for attempt := 1; ; attempt++ {
		err := once(ctx, conn, t.Options, ensure, do)
		raced := code(err) == "23505" || code(err) == "42P06" || code(err) == "42P07" || code(err) == "40P01" || code(err) == "XX000"
		if !raced || attempt == 5 || ctx.Err() != nil {
			return err
		}
	}
}

// A transaction is on a schema of ours.
type transaction struct {
	conn    *pgx.Conn
	schema  string
	version int // of the structure
}

func once(ctx context.Context, conn *pgx.Conn, o *Options, ensure bool, do func(context.Context, *transaction) error) error {
	tx := &transaction{conn: conn, schema: o.Schema}
	err := tx.run(ctx, settings)
	if err == nil {
		err = tx.enter(ctx, o.Logger, ensure)
	}
	if err == nil {
		err = do(ctx, tx)
	}
	if err == nil {
		// A pooler may give the connection to others.
		err = tx.run(ctx, "reset search_path; commit")
	}
	if err != nil && !conn.IsClosed() {
		_ = tx.run(context.WithoutCancel(ctx), "rollback") // the error says more
		err = explainDenied(ctx, conn, o.Schema, err)
	}
	return err
}

// errDenied reports that the role may not change the schema.
var errDenied = errors.New("permission denied")

// explainDenied adds to the error of a role without the rights to migrate which role has them. No transaction is open on conn.
func explainDenied(ctx context.Context, conn *pgx.Conn, schema string, err error) error {
	if code(err) != "42501" && !errors.Is(err, errDenied) {
		return err
	}
	var role, database string
	var owner *string
	var owns bool
	if conn.QueryRow(ctx, deniedSQL, schema).Scan(&role, &database, &owner, &owns) != nil || owns {
		return err // it says more than the other one
	}
	if owner == nil {
		return fmt.Errorf("role %q may not create it; run this as a role with CREATE on database %q: %w", role, database, err)
	}
	return fmt.Errorf("role %q may not change it; run this as its owner, role %q: %w", role, *owner, err)
}

// errNothing reports that there are no tables of ours.
var errNothing = errors.New("it has no tables of ours")

// enter makes the schema the one that names without a schema mean, and looks whose it is. Before it returns, nothing is
// written but the schema and our own bookkeeping.
func (tx *transaction) enter(ctx context.Context, logger *slog.Logger, ensure bool) error {
	var owner string
	var trusted, tell, open, create bool
	err := tx.conn.QueryRow(ctx, trustSQL, tx.schema).Scan(&owner, &trusted, &tell, &open, &create)
	missing := errors.Is(err, pgx.ErrNoRows)
	switch {
	case missing && !ensure:
		return errNothing
	case missing:
		err = tx.run(ctx, "create schema "+quoted(tx.schema))
	case err == nil && !trusted && !create:
		err = errDenied
	case err == nil && !trusted:
		err = fmt.Errorf("it belongs to role %q, which could change all that is in it; drop it, or: alter schema %s owner to current_user", owner, quoted(tx.schema))
	case err == nil && open:
		err = fmt.Errorf("any role may create functions in it, which ours would then call; revoke create on schema %s from public, or use another schema", quoted(tx.schema))
	}
	if err != nil {
		return err
	}
	if tell {
		logger.WarnContext(ctx, "the schema belongs to a role that is no superuser, and that can change all that is in it",
			slog.String("schema", tx.schema), slog.String("owner", owner))
	}
	// Not in what the connection begins with: poolers ignore that, and tables would end up elsewhere.
	var current *string
	if err := tx.run(ctx, "set local search_path = "+quoted(tx.schema)+", pg_temp"); err != nil {
		return err
	}
	if err := tx.conn.QueryRow(ctx, "select pg_catalog.current_schema()").Scan(&current); err != nil {
		return err
	}
	if current == nil || *current != tx.schema {
		return errDenied // to use it
	}
	if !ensure {
		if tx.version, _, err = structure(ctx, tx.conn, tx.schema); err != nil {
			return err
		}
		if tx.version == 0 {
			return errNothing
		}
	}
	if err := tx.lock(ctx); err != nil {
		return err
	}
	tx.version, _, err = structure(ctx, tx.conn, tx.schema)
	return err
}

// lock waits until no other call is at work, for a minute at most.
func (tx *transaction) lock(ctx context.Context) error {
	table := pgx.Identifier{tx.schema, bookkeeping}.Sanitize()
	var there bool
	if err := tx.conn.QueryRow(ctx, "select pg_catalog.to_regclass($1) is not null", table).Scan(&there); err != nil {
		return err
	}
	if !there {
		if err := tx.run(ctx, "create table "+table+" (version bigint primary key, dirty boolean not null)"); err != nil {
			return err
		}
	}
	err := tx.run(ctx, "lock table "+table+" in share row exclusive mode")
	if code(err) == "55P03" {
		return fmt.Errorf("another migration is still running after a minute: %w", err)
	}
	return err
}

// structure returns the version of the schema as its tables have it, and whether another tool has noted that a migration
// broke off.
func structure(ctx context.Context, conn *pgx.Conn, schema string) (version int, dirty bool, err error) {
	var found *int
	var readable bool
	if err := conn.QueryRow(ctx, structureSQL, schema, bookkeeping).Scan(&found, &readable); err != nil {
		return 0, false, err
	}
	if found != nil {
		version = *found
	}
	if !readable {
		return version, false, nil
	}
	err = conn.QueryRow(ctx, "select coalesce(bool_or(dirty), false) from "+pgx.Identifier{schema, bookkeeping}.Sanitize()).Scan(&dirty)
	return version, dirty, err
}

// worksFrom returns the version that a program has to know to work with a schema of a later version than Latest.
func worksFrom(ctx context.Context, conn *pgx.Conn, schema string) (version int, err error) {
	err = conn.QueryRow(ctx, "select works_from from "+pgx.Identifier{schema, "meta"}.Sanitize()).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errors.New("table meta has lost its row, which the newer program puts back with migrations.Up")
	}
	return version, err
}

// complete reports whether there is nothing that Up would do. A role without rights to change the schema
// need not ask for more.
func (t *target) complete(ctx context.Context) (bool, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return false, err
	}
	defer t.hangUp(ctx, conn)
	version, dirty, err := structure(ctx, conn, t.Schema)
	if err != nil || version < Latest || dirty {
		return false, err
	}
	if version > Latest {
		works, err := worksFrom(ctx, conn, t.Schema)
		return err == nil && works <= Latest, explainDenied(ctx, conn, t.Schema, err)
	}
	var row bool
	sql := "select exists (select from " + pgx.Identifier{t.Schema, "meta"}.Sanitize() + ") and not pg_catalog.has_schema_privilege($1, 'create')"
	err = conn.QueryRow(ctx, sql, t.Schema).Scan(&row)
	return err == nil && row, nil // an error is that of the transaction too, which explains it
}

// record writes the version down for tools that keep a table.
func (tx *transaction) record(ctx context.Context, version int) error {
	table := pgx.Identifier{tx.schema, bookkeeping}.Sanitize()
	sql := "delete from " + table
	if version > 0 {
		sql += fmt.Sprintf("; insert into %s values (%d, false)", table, version)
	}
	return tx.run(ctx, sql)
}

// run runs statements without arguments.
func (tx *transaction) run(ctx context.Context, sql string) error {
	return tx.conn.PgConn().Exec(ctx, sql).Close()
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// detail returns what Postgres says besides, such as what depends on a table.
func detail(err error) string {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Detail == "" {
		return ""
	}
	return "; " + pg.Detail
}
