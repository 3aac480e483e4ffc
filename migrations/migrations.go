// Package migrations creates the tables and functions that pgadapter works with,
// in a schema of their own, and brings them up to date.
//
//	err := migrations.Up(ctx, dsn, nil)
//
// Run it from a deploy step or at the start of every node: concurrent calls wait
// for each other. Each call is one transaction, so a call that fails or is killed
// has changed nothing, and the address may be that of a pooler. The role must be one
// that may create the schema, or has the rights of its owner; for any other it does no more
// than look whether all is there. A schema of a role that is not trusted, or in which any
// role may create objects, is refused.
//
// With an application's own pool, for its TLS, its tracer and passwords that change:
//
//	err := migrations.New(pool, nil).Up(ctx)
//
// The version is that of the tables themselves: the default of meta.schema_version.
//
// # With other tools
//
// The files of [Files] are plain SQL with unqualified names, to be run with a
// search_path of the schema followed by pg_temp. With the command line of
// golang-migrate, after "create schema socketio":
//
//	migrate -path migrations/sql -database \
//	  'pgx5://user@host/db?search_path=socketio,pg_temp&x-migrations-table=socketio_migrations' up
//
// Up and that command share their bookkeeping and can be mixed. That command does not work
// behind a pooler that ignores search_path. When it broke off, Up goes on from the tables
// that are there.
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
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-migrate/migrate/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

// Latest is the version that Up leads to.
const Latest = 1

// Oldest is the oldest version that package pgadapter works with: a program runs on any version
// from Oldest to Latest, and on a later one that says so (meta.works_from).
const Oldest = 1

// DefaultSchema is the schema that a nil or zero Options means.
const DefaultSchema = "socketio"

//go:embed sql/*.sql
var embedded embed.FS

// Files returns the migrations as files named like 0001_initial.up.sql, for use with
// other tools.
func Files() fs.FS {
	sub, err := fs.Sub(embedded, "sql")
	if err != nil {
		panic(err) //nolint:forbidigo // cannot be: the directory is named in the embed directive above
	}
	return sub
}

// Options configures Up, Down, Force and Version.
type Options struct {
	// Schema is where the tables are: any name of up to 63 bytes that Postgres
	// allows, except its own (pg_…). Several installations may share a
	// database, each in a schema of its own. Default: socketio.
	Schema string

	// ConnectTimeout is how long a Postgres that does not accept the connection is
	// waited for: one that is not up yet or is starting, or that does not know the
	// credentials yet. Negative: not at all. Default: 30 s.
	ConnectTimeout time.Duration

	// Logger is told of that waiting, at once and then every five seconds, and of a row of
	// meta that is put back.
	// Default: slog.Default().
	Logger *slog.Logger
}

// Up creates what is missing: the schema, its tables and functions. It does
// nothing when all is there, or when the tables are of a later version with which programs
// that know Latest work. It is one transaction: when it fails, when ctx ends or
// the process is killed, nothing has changed. It waits for locks of others for a minute
// at most.
//
// A table meta without its row, as a dump of the structure alone leaves it, gets
// one again. The log is then another one: events emitted before are not replayed, and clients
// start anew.
func Up(ctx context.Context, dsn string, opts *Options) error { return at(dsn, opts).Up(ctx) }

// A Migrator runs migrations with connections made as a pool of the application makes its own,
// with its address, TLS, DialFunc, tracer and parameters, and its hooks BeforeConnect, which
// may set a fresh password, AfterConnect and BeforeClose. A role that AfterConnect sets is the
// one that migrates. The pool stays the application's: none of its connections is used, and
// each method has one of its own while it runs. Its methods may be called from any goroutine.
type Migrator struct {
	opts *Options
	from func() (*pgxpool.Config, error)
}

// New returns a Migrator for the database of pool. A nil opts means the defaults. It does not connect.
func New(pool *pgxpool.Pool, opts *Options) *Migrator {
	return &Migrator{opts, func() (*pgxpool.Config, error) { return pgaddress.FromPool(pool) }}
}

// at returns a Migrator for the database at dsn.
func at(dsn string, opts *Options) *Migrator {
	return &Migrator{opts, func() (*pgxpool.Config, error) { return pgaddress.ParsePool(dsn) }}
}

// target checks the options and returns what they mean.
func (m *Migrator) target() (*target, error) {
	o, err := m.opts.withDefaults()
	if err != nil {
		return nil, err
	}
	config, err := m.from()
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	if config.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeSimpleProtocol {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // leaves no prepared statement behind in a pooler
	}
	return &target{o, config, &pgaddress.Waiter{Timeout: o.ConnectTimeout, Logger: o.Logger}}, nil
}

// Up is like the function [Up].
func (m *Migrator) Up(ctx context.Context) error {
	t, err := m.target()
	if err != nil {
		return err
	}
	done, err := t.complete(ctx)
	if err != nil {
		return fmt.Errorf("migrations: schema %q: %w", t.Schema, err)
	}
	if done {
		return nil
	}
	return t.run(ctx, true, up)
}

// Down removes every table and function, with all that is in them, and our triggers on
// tables of the application; what that was it tells Options.Logger. The schema stays, and in it an empty table of our
// bookkeeping. It is one transaction: when something else depends on the tables, such as
// a view, it fails, names it, and changes nothing.
func Down(ctx context.Context, dsn string, opts *Options) error { return at(dsn, opts).Down(ctx) }

// Down is like the function [Down].
func (m *Migrator) Down(ctx context.Context) error {
	t, err := m.target()
	if err != nil {
		return err
	}
	var removed []slog.Attr
	err = t.run(ctx, false, func(ctx context.Context, o *Options, tx *transaction) (err error) {
		if removed, err = contents(ctx, tx); err != nil {
			return err
		}
		return down(ctx, o, tx)
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	if err == nil {
		t.Logger.LogAttrs(ctx, slog.LevelWarn, "removed the tables, with all that was in them", removed...)
	}
	return err
}

// contents returns what Down is about to remove.
func contents(ctx context.Context, tx *transaction) ([]slog.Attr, error) {
	attrs := []slog.Attr{slog.String("schema", tx.schema), slog.Int("version", tx.version)}
	if tx.version < Oldest {
		return attrs, nil
	}
	var sessions, nodes, events, waiting, keys, answers int64
	var triggers []string
	err := tx.conn.QueryRow(ctx, contentsSQL).Scan(&sessions, &nodes, &events, &waiting, &keys, &answers, &triggers)
	return append(attrs, slog.Int64("sessions", sessions), slog.Int64("nodes", nodes), slog.Int64("events", events),
		slog.Int64("emitted_from_sql", waiting), slog.Int64("keys", keys), slog.Int64("answers", answers),
		slog.Any("triggers", triggers)), err
}

// Force states that the schema has a version, and runs nothing. It is for a schema whose tables
// were put right by hand after another tool broke off. A version of 0 is for a schema without our tables.
func Force(ctx context.Context, dsn string, version uint, opts *Options) error {
	return at(dsn, opts).Force(ctx, version)
}

// Force is like the function [Force].
func (m *Migrator) Force(ctx context.Context, version uint) error {
	t, err := m.target()
	if err != nil {
		return err
	}
	err = t.run(ctx, false, func(ctx context.Context, o *Options, tx *transaction) error {
		switch {
		case version > Latest:
			return fmt.Errorf("no version %d; the latest is %d", version, Latest)
		case version == 0 && tx.version != 0:
			return errors.New("it has tables of ours and cannot be of version 0; migrate down removes them")
		default:
			if err := tx.run(ctx, fmt.Sprintf("alter table meta alter column schema_version set default %[1]d; update meta set schema_version = %[1]d", version)); err != nil {
				return err
			}
		}
		return tx.record(ctx, int(version))
	})
	if errors.Is(err, errNothing) && version == 0 {
		return nil
	}
	return err
}

// Version returns the version that the schema has, zero for none, and whether another
// tool left a mark that a migration broke off, which Up removes. It changes nothing.
func Version(ctx context.Context, dsn string, opts *Options) (version uint, dirty bool, err error) {
	return at(dsn, opts).Version(ctx)
}

// Version is like the function [Version].
func (m *Migrator) Version(ctx context.Context) (version uint, dirty bool, err error) {
	t, err := m.target()
	if err != nil {
		return 0, false, err
	}
	conn, err := t.connect(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("migrations: %w", err)
	}
	defer t.hangUp(ctx, conn)
	v, dirty, err := structure(ctx, conn, t.Schema)
	if err != nil {
		return 0, false, fmt.Errorf("migrations: version of schema %q: %w", t.Schema, err)
	}
	return uint(v), dirty, nil
}

func (t *target) run(ctx context.Context, ensure bool, do func(context.Context, *Options, *transaction) error) error {
	err := t.transact(ctx, ensure, func(ctx context.Context, tx *transaction) error { return do(ctx, t.Options, tx) })
	if err != nil {
		return fmt.Errorf("migrations: schema %q: %w", t.Schema, err)
	}
	return nil
}

func up(ctx context.Context, o *Options, tx *transaction) error {
	if tx.version > Latest {
		works, err := worksFrom(ctx, tx.conn, tx.schema)
		if err == nil && works > Latest {
			err = fmt.Errorf("it has version %d, for programs that know version %d, and this one knows %d; upgrade the program", tx.version, works, Latest)
		}
		return err
	}
	if err := tx.migrate(ctx, (*migrate.Migrate).Up); err != nil {
		return err
	}
	tag, err := tx.conn.Exec(ctx, restoreMetaSQL)
	if err != nil {
		return err
	}
	if tag.RowsAffected() > 0 {
		o.Logger.WarnContext(ctx, "table meta had lost its row, which is back; events of before are not replayed", slog.String("schema", o.Schema))
	}
	return tx.record(ctx, Latest)
}

func down(ctx context.Context, _ *Options, tx *transaction) error {
	if tx.version > Latest {
		return fmt.Errorf("it has version %d and this program knows %d; use the newer program", tx.version, Latest)
	}
	err := tx.migrate(ctx, (*migrate.Migrate).Down)
	if code(err) == "2BP01" {
		return fmt.Errorf("something of yours depends on it, drop that first; nothing was changed: %w%s", err, detail(err))
	}
	if err != nil {
		return err
	}
	return tx.record(ctx, 0)
}

func (o *Options) withDefaults() (*Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Schema == "" {
		c.Schema = DefaultSchema
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if s := c.Schema; len(s) > 63 || !utf8.ValidString(s) || strings.ContainsRune(s, 0) || strings.HasPrefix(s, "pg_") {
		return nil, fmt.Errorf("migrations: %q cannot be the name of a schema", s)
	}
	return &c, nil
}
