package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgadapter"
)

// oldestPostgres is the oldest major version that the project is tested with.
const oldestPostgres = 15

// A server is the row of server.sql.
type server struct {
	version   string
	number    int
	encoding  string
	standby   bool
	readOnly  string
	isolation string
	role      string
	database  string
}

func checkServer(_ context.Context, t *target) (Finding, error) {
	s := &t.server
	f := ok("PostgreSQL %s, encoding %s", s.version, s.encoding)
	if s.number < oldestPostgres*10000 {
		f.advise(Fail, fmt.Sprintf("version %d is the oldest that is supported", oldestPostgres), "upgrade Postgres")
	}
	if s.encoding != "UTF8" && s.encoding != "SQL_ASCII" {
		f.advise(Fail, "nodes refuse this encoding", "create the database with encoding UTF8")
	}
	switch {
	case s.standby:
		f.advise(Fail, "a standby, which is read-only", "use the address of the primary; with an address of several hosts add target_session_attrs=read-write")
	case s.readOnly == "on":
		f.advise(Fail, "connections are read-only", "reset default_transaction_read_only for the role, the database or the server")
	default:
		f.Fact += ", a primary"
	}
	return f, nil
}

func checkIsolation(_ context.Context, t *target) (Finding, error) {
	if level := t.server.isolation; level != "read committed" {
		f := Finding{}
		f.advise(Fail, fmt.Sprintf("%s is %q, and the pooler does not pass the setting of nodes on", isolationSetting, level),
			fmt.Sprintf("alter role %s set %s = 'read committed';", pgx.Identifier{t.server.role}.Sanitize(), isolationSetting))
		return f, nil
	}
	if t.pinned {
		return ok("read committed, which nodes set themselves"), nil
	}
	return ok("read committed; the pooler does not pass the setting of nodes on, so it must stay that of the role"), nil
}

func checkSchema(ctx context.Context, t *target) (Finding, error) {
	version, dirty, err := migrations.Version(ctx, t.o.DSN, &migrations.Options{Schema: t.o.Schema, ConnectTimeout: -1, Logger: t.o.Logger})
	if err != nil {
		return Finding{}, err
	}
	f := ok("schema %q has version %d; this program works with %d to %d", t.o.Schema, version, migrations.Oldest, migrations.Latest)
	switch {
	case version == 0:
		f.advise(Fail, "it has no pgsocket tables", "pgsocket migrate up, or another --schema")
		return f, nil
	case version < migrations.Oldest:
		f.advise(Fail, "it is too old", "pgsocket migrate up")
		return f, nil
	case version > migrations.Latest:
		if err := t.checkLater(ctx, &f); err != nil || f.Status == Fail {
			return f, err
		}
	case version < migrations.Latest:
		f.advise(Warn, "it is not the latest", "pgsocket migrate up")
	}
	if dirty {
		f.advise(Fail, "another tool recorded an incomplete migration", "pgsocket migrate up, which continues it")
	}
	t.tables = true
	return f, nil
}

// checkLater checks whether this program works with a later schema.
func (t *target) checkLater(ctx context.Context, f *Finding) error {
	var worksFrom int
	err := t.row(ctx, "works_from", nil, &worksFrom)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		f.advise(Fail, "the table meta has lost its only row", "pgsocket migrate up of the program that created it")
	case err != nil:
		return err
	case worksFrom > migrations.Latest:
		f.advise(Fail, fmt.Sprintf("it needs programs that know version %d", worksFrom), "upgrade this program and the nodes")
	default:
		f.advise(OK, "it works with this program")
	}
	return nil
}

func checkPrivileges(ctx context.Context, t *target) (Finding, error) {
	var mayEmit bool
	if err := t.row(ctx, "may_emit", []any{t.o.Schema}, &mayEmit); err != nil {
		return Finding{}, err
	}
	schema, role := pgx.Identifier{t.o.Schema}.Sanitize(), pgx.Identifier{t.server.role}.Sanitize()
	if t.o.Emitter {
		if mayEmit {
			return ok("role %s may emit from SQL", t.server.role), nil
		}
		f := Finding{}
		f.advise(Fail, fmt.Sprintf("role %s may not emit", t.server.role), fmt.Sprintf("select %s.allow_emit('%s');", schema, strings.ReplaceAll(role, "'", "''")))
		return f, nil
	}
	missing, err := collect(ctx, t, "privileges", []any{t.o.Schema}, func(r pgx.CollectableRow) (string, error) {
		var privilege, kind string
		var names []string
		err := r.Scan(&privilege, &kind, &names)
		return privilege + " on " + kind + " " + someOf(names), err
	})
	if err != nil {
		return Finding{}, err
	}
	if len(missing) == 0 {
		return ok("role %s may run nodes and emit", t.server.role), nil
	}
	f := Finding{}
	f.advise(Fail, fmt.Sprintf("role %s lacks for a node: %s", t.server.role, strings.Join(missing, ", ")),
		"grant usage on schema "+schema+" to "+role+";",
		"grant select, insert, update, delete, truncate on all tables in schema "+schema+" to "+role+";",
		"grant usage on all sequences in schema "+schema+" to "+role+";",
		"grant execute on all functions in schema "+schema+" to "+role+";")
	if mayEmit {
		f.advise(Fail, "it may emit from SQL", "for a role that only emits, pgsocket doctor --emitter")
	}
	return f, nil
}

// someOf returns the first names of a list and how many there are more.
func someOf(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// echoTimeout is that of nodes: a notification that takes longer is taken for lost.
const echoTimeout = time.Second

// checkListen sends a notification to a connection that listens, as a node does: a pooler in
// transaction mode accepts LISTEN and delivers nothing.
func checkListen(ctx context.Context, t *target) (Finding, error) {
	if t.o.PollOnly {
		return skipped("nodes with PollOnly do not listen"), nil
	}
	dsn, by := t.o.DSN, "this address"
	if t.o.ListenDSN != "" {
		dsn, by = t.o.ListenDSN, "--listen-dsn"
	}
	f := Finding{}
	took, err := t.echo(ctx, dsn)
	switch {
	case err == nil:
		return ok("a notification arrived through %s after %v", by, took.Round(10*time.Microsecond)), nil
	case !errors.Is(err, context.DeadlineExceeded):
		f.advise(Fail, "LISTEN through "+by+": "+err.Error(), "give --listen-dsn, and the option ListenDSN of nodes, the direct address of Postgres")
	default:
		f.advise(Fail, "notifications do not arrive through "+by+", as behind a pooler in transaction mode; nodes poll, and their Health fails",
			"set the option ListenDSN of nodes to the direct address of Postgres, and check it with --listen-dsn",
			"or set the option PollOnly, and check with --poll-only")
	}
	return f, nil
}

// echo returns how long a notification takes from the connection of t to one at dsn.
func (t *target) echo(ctx context.Context, dsn string) (time.Duration, error) {
	config, err := parse(dsn)
	if err != nil {
		return 0, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return 0, errors.New(strings.ReplaceAll(err.Error(), context.DeadlineExceeded.Error(), "timeout"))
	}
	defer conn.Close(context.WithoutCancel(ctx))
	channel := "pgsocket_doctor_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := t.conn.Exec(ctx, "select pg_notify($1, '')", channel); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	_, err = conn.WaitForNotification(ctx)
	return time.Since(began), err
}

// checkNode opens a node: the checks of pgadapter decide.
func checkNode(ctx context.Context, t *target) (Finding, error) {
	db, err := pgadapter.Open(ctx, t.o.DSN, &pgadapter.Options{
		Schema: t.o.Schema, NodeName: "pgsocket doctor", ListenDSN: t.o.ListenDSN, PollOnly: t.o.PollOnly,
		Retention: time.Minute, TailBytes: 1 << 20, ConnectTimeout: -1, Logger: t.o.Logger,
	})
	if err == nil {
		err = db.Close(ctx)
	}
	f := ok("a node joined the cluster and left it")
	if err != nil { // also missing privileges, which other checks skip
		f.Status, f.Fact = Fail, err.Error()
	}
	return f, nil
}

// clockTolerance is the difference of clocks from which times in logs mislead.
const clockTolerance = 2 * time.Second

func checkClock(ctx context.Context, t *target) (Finding, error) {
	began := time.Now()
	var at int64
	if err := t.row(ctx, "clock", nil, &at); err != nil {
		return Finding{}, err
	}
	took := time.Since(began)
	ahead := time.UnixMicro(at).Sub(began.Add(took / 2))
	f := ok("the clock of Postgres is %v from that of this machine, as exact as %v", ahead.Round(time.Millisecond), (took / 2).Round(time.Millisecond/10))
	if ahead.Abs() > clockTolerance+took/2 {
		f.advise(Warn, "no node compares clocks, but that of Postgres decides when sessions and events expire, and logs are hard to compare",
			"synchronize both machines with NTP; do not set the clock of Postgres forward in a jump (docs/recovery.md)")
	}
	return f, nil
}
