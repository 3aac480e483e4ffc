// Package doctor checks whether a cluster can work with a database: the server, the schema,
// the role, the way to it, and what operators do with it.
package doctor

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// A Status is the result of a check.
type Status string

// The results of checks.
const (
	OK   Status = "ok"
	Warn Status = "warn" // it works, and something may go wrong later
	Fail Status = "fail" // nodes do not work, or lose what they promise
	Skip Status = "skip" // not known, for the reason that the fact names
)

// A Finding is what a check found, and what to do about it.
type Finding struct {
	Check  string   `json:"check"`
	Status Status   `json:"status"`
	Fact   string   `json:"fact"`
	Advice []string `json:"advice,omitempty"` // what to do, one step each
}

// Options are what to check, and the options of the nodes that Run cannot read from the database.
type Options struct {
	DSN       string
	ListenDSN string // pgadapter.Options.ListenDSN
	PollOnly  bool   // pgadapter.Options.PollOnly
	Schema    string
	Window    time.Duration // socketio.Recovery.Window; 0: that of the sessions
	Emitter   bool          // the role only emits from SQL
	Logger    *slog.Logger

	// Wait calls a function that connects until Postgres accepts the connection.
	Wait func(context.Context, func(context.Context) error) error

	OldTransaction time.Duration // the age from which an open transaction is reported. Default: 5 minutes
	NoNode         bool          // no node is opened
}

// A check examines one thing. An error means that it could not.
type check struct {
	name string
	run  func(ctx context.Context, t *target) (Finding, error)
	node bool // it concerns nodes, and not a role that only emits
	live bool // it needs the tables
}

func checks() []check {
	return []check{
		{name: "server", run: checkServer},
		{name: "isolation", run: checkIsolation, node: true},
		{name: "schema", run: checkSchema},
		{name: "privileges", run: checkPrivileges, live: true},
		{name: "listen", run: checkListen, node: true},
		{name: "node", run: checkNode, node: true, live: true},
		{name: "clock", run: checkClock},
		{name: "nodes", run: checkNodes, node: true, live: true},
		{name: "retention", run: checkRetention, node: true, live: true},
		{name: "log", run: checkLog, node: true, live: true},
		{name: "outbox", run: checkOutbox, node: true, live: true},
		{name: "vacuum", run: checkVacuum, node: true, live: true},
		{name: "transactions", run: checkTransactions},
		{name: "notifications", run: checkNotifications},
		{name: "durability", run: checkDurability},
		{name: "connections", run: checkConnections, node: true},
		{name: "timeouts", run: checkTimeouts},
	}
}

// Run yields what each check found, as soon as it is known. It changes nothing, except that
// it joins the cluster as a node for a moment. It ends early if there is no connection.
func Run(ctx context.Context, o Options) iter.Seq[Finding] {
	if o.OldTransaction == 0 {
		o.OldTransaction = 5 * time.Minute
	}
	return func(yield func(Finding) bool) {
		t, found := connect(ctx, o)
		if !yield(found) || t == nil {
			return
		}
		defer t.close(ctx)
		for _, c := range checks() {
			if o.Emitter && c.node || o.NoNode && c.name == "node" {
				continue
			}
			if found := t.perform(ctx, c); ctx.Err() != nil || !yield(found) {
				return
			}
		}
	}
}

// A target is the database that is checked.
type target struct {
	o      Options
	conn   *pgx.Conn
	pinned bool // the connection has the isolation level that it asked for
	server server
	tables bool // the schema has tables that this program knows
	nodes  []node
}

// perform runs a check. What the role may not see is skipped.
func (t *target) perform(ctx context.Context, c check) Finding {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var f Finding
	var err error
	if c.live && !t.tables {
		f = Finding{Status: Skip, Fact: "there are no tables that this program knows"}
	} else {
		f, err = c.run(ctx, t)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
		f = Finding{Status: Skip, Fact: "the role may not see this: " + pg.Message}
	} else if err != nil {
		f = Finding{Status: Fail, Fact: err.Error()}
	}
	f.Check = c.name
	return f
}

const isolationSetting = "default_transaction_isolation"

// connect connects to the database as nodes do: with the isolation level that they need, if
// no pooler refuses to pass it on.
func connect(ctx context.Context, o Options) (*target, Finding) {
	f := Finding{Check: "connection", Status: OK}
	t := &target{o: o, pinned: true}
	config, err := parse(o.DSN)
	if err == nil {
		config.RuntimeParams[isolationSetting] = "read committed"
		err = o.Wait(ctx, func(ctx context.Context) (err error) {
			t.conn, err = pgx.ConnectConfig(ctx, config)
			if refusesParameter(err) {
				t.pinned = false
				delete(config.RuntimeParams, isolationSetting)
				t.conn, err = pgx.ConnectConfig(ctx, config)
			}
			return err
		})
	}
	if err != nil {
		f.Status, f.Fact, f.Advice = Fail, err.Error(), []string{"check host, port, user, password and sslmode of the address, and pg_hba.conf of the server"}
		return nil, f
	}
	s := &t.server
	err = t.row(ctx, "server", nil, &s.version, &s.number, &s.encoding, &s.standby, &s.readOnly, &s.isolation, &s.role, &s.database)
	if err != nil {
		t.close(ctx)
		f.Status, f.Fact = Fail, err.Error()
		return nil, f
	}
	secure := "without TLS"
	if _, ok := t.conn.PgConn().Conn().(*tls.Conn); ok {
		secure = "with TLS"
	}
	f.Fact = fmt.Sprintf("role %s, database %s at %v, %s", s.role, s.database, t.conn.PgConn().Conn().RemoteAddr(), secure)
	return t, f
}

func parse(dsn string) (*pgx.ConnConfig, error) {
	config, err := pgaddress.Parse(dsn)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // works through any pooler
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgsocket doctor"
	}
	return config, nil
}

// refusesParameter reports whether a pooler refuses a parameter of the start of a connection.
func refusesParameter(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pg.Code, "08") && strings.Contains(pg.Message, "startup parameter")
}

func (t *target) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	t.conn.Close(ctx)
}

// query returns the statement of a file for the schema.
func (t *target) query(file string) string {
	text, err := sqlFiles.ReadFile("sql/" + file + ".sql")
	if err != nil {
		panic(err) // cannot be: the files are embedded above
	}
	return strings.ReplaceAll(string(text), "/*schema.*/", pgx.Identifier{t.o.Schema}.Sanitize()+".")
}

// row scans the only row of a statement.
func (t *target) row(ctx context.Context, file string, args []any, into ...any) error {
	return t.conn.QueryRow(ctx, t.query(file), args...).Scan(into...)
}

// collect returns the rows of a statement.
func collect[T any](ctx context.Context, t *target, file string, args []any, scan pgx.RowToFunc[T]) ([]T, error) {
	rows, err := t.conn.Query(ctx, t.query(file), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

func ok(format string, args ...any) Finding {
	return Finding{Status: OK, Fact: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Finding {
	return Finding{Status: Skip, Fact: fmt.Sprintf(format, args...)}
}

// advise adds a problem and what to do about it. The status is the worse of the two.
func (f *Finding) advise(s Status, fact string, advice ...string) {
	if s == Fail || f.Status != Fail {
		f.Status = s
	}
	if f.Fact != "" {
		f.Fact += "; "
	}
	f.Fact += fact
	f.Advice = append(f.Advice, advice...)
}

// A micro is a time that Postgres returns in microseconds.
type micro int64

func (m micro) duration() time.Duration { return time.Duration(m) * time.Microsecond }
