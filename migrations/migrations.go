// Package migrations creates the tables and functions that pgadapter works with,
// in a schema of their own, and brings them up to date.
//
//	err := migrations.Up(ctx, dsn, nil)
//
// Run it from a deploy step or at the start of every node: concurrent calls wait
// for each other. It needs a connection with a session of its own, so give it
// the address of the database rather than that of a transaction-mode pooler,
// and a role that may create the schema or owns it.
//
// # With other tools
//
// The files of [Files] are plain SQL with unqualified names, to be run with a
// search_path of the schema followed by pg_temp. With the command line of
// golang-migrate, after "create schema socketio":
//
//	migrate -path migrations/sql -database \
//	  'pgx5://user@host/db?search_path=socketio,pg_temp&x-migrations-table=schema_migrations' up
//
// Up and that command share their bookkeeping and can be mixed.
//
// # Roles
//
// The role that a server connects as need not own the schema. It needs usage of
// the schema, usage of its sequences, select, insert, update and delete on its
// tables, execute on its functions, and truncate on the partitions of the log and
// the outbox. For who only emits from SQL there is the function allow_emit, for who
// only looks allow_read.
package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-migrate/migrate/v4"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

// Latest is the version that Up leads to.
const Latest = 4

// DefaultSchema is the schema that a nil or zero Options means.
const DefaultSchema = "socketio"

//go:embed sql/*.sql
var embedded embed.FS

// Files returns the migrations as files named like 0001_log.up.sql, for use with
// other tools.
func Files() fs.FS {
	sub, err := fs.Sub(embedded, "sql")
	if err != nil {
		panic(err) //nolint:forbidigo // cannot be: the directory is named in the embed directive above
	}
	return sub
}

// Options configures Up, Down and Version.
type Options struct {
	// Schema is where the tables are: any name of up to 63 bytes that Postgres
	// takes, but for its own (pg_…). Several installations may share a
	// database, each in a schema of its own. Default: socketio.
	Schema string
}

// Up creates what is missing: the schema, its tables and functions. It does
// nothing when all is there. When ctx ends it stops after the migration that is
// running.
func Up(ctx context.Context, dsn string, opts *Options) error {
	return run(ctx, dsn, opts, (*migrate.Migrate).Up)
}

// Down removes every table and function, with all that is in them. The schema
// stays, and in it the table in which the version is kept.
func Down(ctx context.Context, dsn string, opts *Options) error {
	return run(ctx, dsn, opts, (*migrate.Migrate).Down)
}

// Version returns the version that the schema has, zero for none, and whether a
// migration broke off and left it dirty. It changes nothing.
func Version(ctx context.Context, dsn string, opts *Options) (version uint, dirty bool, err error) {
	schema, err := schemaOf(opts)
	if err != nil {
		return 0, false, err
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, false, fmt.Errorf("migrations: %w", pgaddress.Error(err))
	}
	defer conn.Close(context.WithoutCancel(ctx)) // a goodbye, also after ctx ended
	row := conn.QueryRow(ctx, "select version, dirty from "+pgx.Identifier{schema, migratepgx.DefaultMigrationsTable}.Sanitize())
	var v int64
	err = row.Scan(&v, &dirty)
	if code(err) == "42P01" || errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("migrations: version of schema %q: %w", schema, err)
	}
	return uint(max(v, 0)), dirty, nil
}

func run(ctx context.Context, dsn string, opts *Options, direction func(*migrate.Migrate) error) error {
	schema, err := schemaOf(opts)
	if err != nil {
		return err
	}
	m, err := open(ctx, dsn, schema)
	if err != nil {
		return fmt.Errorf("migrations: schema %q: %w", schema, err)
	}
	stop := context.AfterFunc(ctx, func() { m.GracefulStop <- true })
	err = direction(m)
	stop()
	sourceErr, closeErr := m.Close()
	if errors.Is(err, migrate.ErrNoChange) {
		err = nil
	}
	if err = errors.Join(err, sourceErr, closeErr, context.Cause(ctx)); err != nil {
		return fmt.Errorf("migrations: schema %q: %w", schema, err)
	}
	return nil
}

// open creates the schema if it is missing and returns golang-migrate on a
// connection whose search_path is the schema.
func open(ctx context.Context, dsn, schema string) (*migrate.Migrate, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, pgaddress.Error(err)
	}
	if err := createSchema(ctx, config, schema); err != nil {
		return nil, err
	}
	config.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize() + ", pg_temp"
	db := stdlib.OpenDB(*config)
	driver, err := retry(ctx, func() (*migratepgx.Postgres, error) {
		// A name of its own: the driver takes the schema from the connection.
		d, err := migratepgx.WithInstance(db, &migratepgx.Config{})
		if err != nil {
			return nil, err
		}
		return d.(*migratepgx.Postgres), nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	source, err := iofs.New(embedded, "sql")
	if err != nil {
		return nil, errors.Join(err, driver.Close())
	}
	m, err := migrate.NewWithInstance("embedded", source, "pgx5", driver)
	if err != nil {
		return nil, errors.Join(err, driver.Close())
	}
	m.LockTimeout = time.Minute // a neighbor may be migrating
	return m, nil
}

func createSchema(ctx context.Context, config *pgx.ConnConfig, schema string) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // a goodbye, also after ctx ended
	var there bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_namespace where nspname = $1)", schema).Scan(&there); err != nil || there {
		return err
	}
	_, err = retry(ctx, func() (pgconn.CommandTag, error) {
		return conn.Exec(ctx, "create schema if not exists "+pgx.Identifier{schema}.Sanitize())
	})
	return err
}

// retry repeats a "create … if not exists" that two sessions ran at once: the
// slower one gets an error for what the other has just created.
func retry[T any](ctx context.Context, create func() (T, error)) (T, error) {
	for attempt := 1; ; attempt++ {
		v, err := create()
		raced := code(err) == "23505" || code(err) == "42P06" || code(err) == "42P07" || code(err) == "XX000"
		if !raced || attempt == 5 || ctx.Err() != nil {
			return v, err
		}
	}
}

func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

func schemaOf(opts *Options) (string, error) {
	schema := DefaultSchema
	if opts != nil && opts.Schema != "" {
		schema = opts.Schema
	}
	if len(schema) > 63 || !utf8.ValidString(schema) || strings.ContainsRune(schema, 0) || strings.HasPrefix(schema, "pg_") {
		return "", fmt.Errorf("migrations: %q cannot be the name of a schema", schema)
	}
	return schema, nil
}
