package pgadapter

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
)

// Timeouts of a role for the statements of its application cancel appends that wait for
// their lock, and end transactions: everything is sent again, and delivered once.
func TestTimeouts_OfTheRole_NothingLostNothingTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	timeouts := map[string]string{
		"statement_timeout": "300", "lock_timeout": "1", "idle_in_transaction_session_timeout": "100", "idle_session_timeout": "200",
	}
	if b.int(t, "select current_setting('server_version_num')::int / 10000") >= 17 {
		timeouts["transaction_timeout"] = "300"
	}
	b.dsn = withParams(t, b.dsn, timeouts)
	canceled := newSignal("57014", "25P04") // statement_timeout, transaction_timeout
	dbs, recorders := b.nodes(t, 2, &Options{ListenDSN: b.dsn, Logger: canceled.logger(t)})
	release := b.stall(t)
	stormed := make(chan []string, 1)
	go func() { stormed <- storm(t, dbs, 4, 20, 0) }()
	<-canceled.seen
	release()
	checkSame(t, recorders, <-stormed)
	exerciseSessions(t, dbs)
}

// encoded creates a database with another encoding for the bench, with a schema of the same name.
func (b *bench) encoded(t *testing.T, encoding string) *bench {
	t.Helper()
	name := b.schema + "_" + strings.ToLower(encoding)
	b.exec(t, "create database "+name+" template template0 encoding '"+encoding+"' lc_collate 'C' lc_ctype 'C'")
	t.Cleanup(func() { b.exec(t, "drop database "+name+" with (force)") })
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if err := migrations.Up(t.Context(), u.String(), &migrations.Options{Schema: b.schema}); err != nil {
		t.Fatal(err)
	}
	other := &bench{dsn: u.String(), schema: b.schema}
	other.conn = other.connect(t)
	return other
}

// Open refuses a database that cannot store every text. A trigger there does not prevent writes of rows.
func TestOpen_EncodingOfTheDatabase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for encoding, refused := range map[string]bool{"LATIN1": true, "SQL_ASCII": false} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			b := &bench{dsn: b.dsn, schema: b.schema}
			b.conn = b.connect(t)
			b = b.encoded(t, encoding)
			execOn(t, b.conn, "create table o (name text)", "select attach_trigger('o', 'all', 'o')")
			if refused {
				execOn(t, b.conn, "insert into o values ('é')")
				_, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema})
				if err == nil || !strings.Contains(err.Error(), "encoding UTF8") {
					t.Errorf("Open: %v", err)
				}
				return
			}
			dbs, recorders := b.nodes(t, 2, &Options{ListenDSN: b.dsn})
			b.exec(t, "insert into o values ($1)", []byte{0xe9}) // é in LATIN1, invalid in UTF-8
			execOn(t, b.conn, "insert into o values ('é')")
			first := recorders[0].Expect(t, 1)[0]
			if payload := string(first.Payload); !strings.Contains(payload, `"name": "é"`) {
				t.Errorf("the event of the row is %s", payload)
			}
			exerciseSessions(t, dbs)
		})
	}
}

// A role that sees some rows of a table changes only these, and the trigger emits the changes.
func TestTrigger_RowSecurity(t *testing.T) {
	t.Parallel()
	for _, perRow := range []string{"false", "true"} {
		b := newBench(t)
		role := b.schema + "_tenant"
		execOn(t, b.conn, "create role "+role, "grant usage on schema "+b.schema+" to "+role, "select allow_emit('"+role+"')")
		t.Cleanup(func() { execOn(t, b.conn, "reset role", "drop owned by "+role, "drop role "+role) })
		execOn(t, b.conn, "create table o (id int, tenant text)", "grant all on o to "+role, "alter table o enable row level security",
			"create policy p on o using (tenant = current_user)", "select attach_trigger('o', '{tenant}', 'o', operations => '{update}', per_row => "+perRow+")",
			"insert into o values (1, '"+role+"'), (2, 'another')",
			"set row_security = on", "set role "+role, "update o set id = id + 10", "reset role")
		b.relay(t)
		if packets := b.packets(t); len(packets) != 1 || !strings.HasPrefix(packets[0], "{"+role+"}") || !strings.Contains(packets[0], `"id": 11`) {
			t.Errorf("per_row %s: %q", perRow, packets)
		}
	}
}

// Settings may differ between connections of a node: a role has changed, or other clients of a pooler have set them.
func TestNode_WhenOthersWereSeenIsTheSameOnEveryConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 2, &Options{Lease: 5 * time.Minute})
	dead := dbs[1].node.id.Load()
	dbs[1].crash()
	seen := make(map[string]bool)
	for _, settings := range []string{"set timezone = 'UTC'", "set timezone = 'Asia/Kathmandu'", "set datestyle = 'SQL, DMY'", "set extra_float_digits = -15"} {
		execOn(t, b.conn, settings)
		others, err := dbs[0].node.beat(t.Context(), b.conn)
		if err != nil || len(others) != 1 {
			t.Fatalf("%v, %v", others, err)
		}
		seen[others[0].seen] = true
		if len(seen) > 1 {
			t.Errorf("%s: the dead node seems to be alive: %v", settings, seen)
		}
	}
	for at := range seen {
		if ended, err := dbs[0].node.end(t.Context(), dead, &at); !ended || err != nil {
			t.Errorf("the dead node is not ended: %v", err)
		}
	}
}

// A pooler does not pass on startup settings: connections have the settings of their role.
func TestOpen_SettingsOfTheRoleBehindAPooler(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	direct := b.dsn
	b.dsn = b.as(t, "read committed")
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{
		"array_nulls = off", "datestyle = 'SQL, DMY'", "timezone = 'Asia/Kathmandu'", "intervalstyle = 'sql_standard'", "bytea_output = 'escape'",
		"extra_float_digits = -15", "standard_conforming_strings = off", "default_transaction_deferrable = on", "quote_all_identifiers = on",
	} {
		execOn(t, b.conn, "alter role "+u.User.Username()+" set "+setting)
	}
	b.dsn = startPooler(t, b.dsn, pgserver.PoolerOptions{Mode: "transaction", Size: 5})
	dbs, recorders := b.nodes(t, 2, &Options{ListenDSN: direct})
	checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
	exerciseSessions(t, dbs)
	nodes, err := dbs[0].Nodes(t.Context())
	if err != nil || len(nodes) != 2 || time.Since(nodes[0].Started).Abs() > time.Hour || nodes[0].Seen.Before(nodes[0].Started) {
		t.Errorf("Nodes: %v, %v", nodes, err)
	}
	if _, err := dbs[0].ClusterStats(t.Context()); err != nil {
		t.Errorf("ClusterStats: %v", err)
	}
}

// Compiling a statement takes longer than running it. Whether Postgres compiles it depends on settings and statistics,
// which partitions of the log do not have.
func TestOpen_JitIsOff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{ListenDSN: b.dsn})
	var jit string
	if err := db.pool.QueryRow(t.Context(), "select current_setting('jit')").Scan(&jit); err != nil || jit != "off" {
		t.Errorf("jit is %q, %v", jit, err)
	}
}
