package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/cmd/pgsocket/internal/doctor"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

// pooler starts a PgBouncer in front of a database.
func pooler(t *testing.T, dsn string, o pgserver.PoolerOptions) string {
	t.Helper()
	p, err := pgserver.StartPooler(t.Context(), dsn, o)
	if errors.Is(err, pgserver.ErrNoPooler) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p.DSN()
}

// ownServer starts a server of its own for the test.
func ownServer(t *testing.T, o pgserver.Options) *pgserver.Server {
	t.Helper()
	srv, err := pgserver.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// role creates a role with settings, and returns an address with it.
func role(t *testing.T, dsn, schema, attributes string, settings ...string) (name, address string) {
	t.Helper()
	conn := connect(t, dsn)
	name = schema + "_role"
	execute(t, conn, schema, "create role "+name+" login password 'p' "+attributes)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, dsn) // the connection of the test is closed
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "drop owned by "+name+"; drop role "+name); err != nil {
			t.Error(err)
		}
	})
	for _, setting := range settings {
		execute(t, conn, schema, "alter role "+name+" set "+setting)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "p")
	return name, u.String()
}

// findings runs doctor and returns what each check found.
func findings(t *testing.T, wantCode int, args ...string) map[string]doctor.Finding {
	t.Helper()
	stdout, stderr, code := separately(t, nil, append([]string{"doctor", "--json"}, args...)...)
	if strings.Contains(stderr, "joined") {
		t.Errorf("doctor logs what its check reports: %s", stderr)
	}
	if code != wantCode {
		t.Errorf("doctor %q: exit code %d, want %d:\n%s%s", args, code, wantCode, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, ":p@") {
		t.Errorf("a password is printed:\n%s%s", stdout, stderr)
	}
	found := make(map[string]doctor.Finding)
	decoder := json.NewDecoder(strings.NewReader(stdout))
	for decoder.More() {
		var f doctor.Finding
		if err := decoder.Decode(&f); err != nil {
			t.Fatal(err)
		}
		if f.Status == doctor.Fail && len(f.Advice) == 0 && f.Check != "node" {
			t.Errorf("%s fails without advice: %s", f.Check, f.Fact)
		}
		found[f.Check] = f
	}
	return found
}

// want checks what one check found.
func want(t *testing.T, found map[string]doctor.Finding, check string, status doctor.Status, fact string) {
	t.Helper()
	if f := found[check]; f.Status != status || !strings.Contains(f.Fact, fact) {
		t.Errorf("%s: %s, %s %q; want %s, …%s…", check, f.Status, f.Fact, f.Advice, status, fact)
	}
}

// await waits until a condition holds.
func await(t *testing.T, conn *pgx.Conn, condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for holds := false; !holds; {
		if err := conn.QueryRow(ctx, "select "+condition+" from pg_sleep(0.05)").Scan(&holds); err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
	}
}

// paste executes lines as psql does: a statement without a semicolon continues on the next line.
func paste(t *testing.T, conn *pgx.Conn, lines []string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), strings.Join(lines, "\n")).ReadAll(); err != nil || !strings.HasSuffix(lines[len(lines)-1], ";") {
		t.Errorf("%q: %v", lines, err)
	}
}

// runNode runs a node with a server.
func runNode(t *testing.T, dsn, schema string, retention time.Duration) *socketio.Server {
	t.Helper()
	db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{Schema: schema, NodeName: "web", Retention: retention, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := socketio.NewServer(&socketio.Options{Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions(), Window: retention / 4}, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(server.Shutdown(ctx), db.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return server
}

func TestDoctor_Healthy(t *testing.T) {
	t.Parallel()
	srv := ownServer(t, pgserver.Options{})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	runNode(t, dsn, schema, 5*time.Minute)
	found := findings(t, 0, "--dsn", dsn, "--schema", schema, "--window", "2m")
	for check, f := range found {
		if f.Status != doctor.OK {
			t.Errorf("%s: %s, %s %q", check, f.Status, f.Fact, f.Advice)
		}
	}
	for check, fact := range map[string]string{
		"connection": "role postgres, database postgres at 127.0.0.1:", "server": "PostgreSQL ", "schema": "has version 1", "privileges": "may run nodes and emit",
		"listen": "a notification arrived", "node": "joined", "nodes": "1 with a server", "retention": "kept for 5m0s; the recovery window is 2m0s (--window)",
		"log": " MB", "connections": "are free", "transactions": "no transaction is older", "timeouts": "none is set", "isolation": "which nodes set themselves",
	} {
		want(t, found, check, doctor.OK, fact)
	}
	if status := output(t, "status", "--dsn", dsn, "--schema", schema); strings.Contains(status, "pgsocket doctor") {
		t.Errorf("its node is left:\n%s", status)
	}
}

// once connects without waiting.
func once(ctx context.Context, try func(context.Context) error) error { return try(ctx) }

func TestDoctor_Text(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	stdout, stderr, code := separately(t, nil, "doctor", "--dsn", dsn, "--schema", "not_there")
	for _, want := range []string{
		"ok    connection     role ", "\nfail  schema         schema \"not_there\" has version 0; ", "it has no pgsocket tables\n        → pgsocket migrate up, or another --schema\n",
		"\nskip  privileges     there are no tables that this program knows\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if code != 1 || stderr != "pgsocket: 1 of 18 checks failed\n" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestDoctor_NoConnection(t *testing.T) {
	t.Parallel()
	found := findings(t, 1, "--dsn", "postgres://u:p@127.0.0.1:1/d")
	want(t, found, "connection", doctor.Fail, "connection refused")
	if len(found) != 1 {
		t.Errorf("%v", found)
	}
}

func TestDoctor_TransactionPooler(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	pooled := pooler(t, dsn, pgserver.PoolerOptions{Mode: "transaction", Size: 2})
	where := []string{"--dsn", pooled, "--schema", schema}
	found := findings(t, 1, where...)
	want(t, found, "listen", doctor.Fail, "notifications do not arrive through this address")
	want(t, found, "isolation", doctor.OK, "must stay that of the role")
	want(t, found, "node", doctor.OK, "joined")

	want(t, findings(t, 0, append(where, "--listen-dsn", dsn)...), "listen", doctor.OK, "through --listen-dsn")
	want(t, findings(t, 0, append(where, "--poll-only")...), "listen", doctor.Skip, "PollOnly")
	want(t, findings(t, 1, append(where, "--listen-dsn", "postgres://127.0.0.1:1/d")...), "listen", doctor.Fail, "connection refused")

	session := pooler(t, dsn, pgserver.PoolerOptions{Mode: "session"})
	want(t, findings(t, 0, "--dsn", session, "--schema", schema), "listen", doctor.OK, "arrived")
}

// The advice is what has to be executed.
func TestDoctor_RoleWithoutRights(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	name, address := role(t, dsn, schema, "")
	where := []string{"--dsn", address, "--schema", schema}
	found := findings(t, 1, where...)
	want(t, found, "privileges", doctor.Fail, "lacks for a node: usage on schema "+schema)
	want(t, found, "node", doctor.Fail, "lacks privileges")
	want(t, found, "schema", doctor.OK, "has version 1")
	want(t, found, "nodes", doctor.Skip, "may not see this")
	want(t, found, "transactions", doctor.Skip, "pg_read_all_stats")

	conn := connect(t, dsn)
	execute(t, conn, schema, "select SCHEMA.allow_emit('"+name+"')")
	found = findings(t, 1, where...)
	want(t, found, "privileges", doctor.Fail, "it may emit from SQL")
	want(t, findings(t, 0, append(where, "--emitter")...), "privileges", doctor.OK, "may emit from SQL")

	paste(t, conn, found["privileges"].Advice[:4])
	found = findings(t, 0, where...)
	want(t, found, "privileges", doctor.OK, "may run nodes")
	want(t, found, "node", doctor.OK, "joined")
	output(t, append([]string{"status"}, where...)...) // needs no more
	output(t, append([]string{"emit", "news"}, where...)...)

	execute(t, conn, schema, "revoke truncate on SCHEMA.log_1 from "+name, "revoke insert on SCHEMA.sessions from "+name)
	found = findings(t, 1, where...)
	want(t, found, "privileges", doctor.Fail, "insert on table sessions")
	want(t, found, "privileges", doctor.Fail, "truncate on table log_1")
}

func TestDoctor_EmitterWithoutRights(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	_, address := role(t, dsn, schema, "")
	where := []string{"--dsn", address, "--schema", schema, "--emitter"}
	found := findings(t, 1, where...)
	want(t, found, "privileges", doctor.Fail, "may not emit")
	if _, ok := found["listen"]; ok {
		t.Error("a role that only emits does not listen")
	}
	conn := connect(t, dsn)
	paste(t, conn, found["privileges"].Advice)
	want(t, findings(t, 0, where...), "privileges", doctor.OK, "may emit from SQL")
}

func TestDoctor_VersionsOfTheSchema(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	where := []string{"--dsn", dsn, "--schema", schema}

	execute(t, conn, schema, "update SCHEMA.socketio_migrations set dirty = true")
	want(t, findings(t, 1, where...), "schema", doctor.Fail, "incomplete migration")
	output(t, append([]string{"migrate", "up"}, where...)...) // the advice
	want(t, findings(t, 0, where...), "schema", doctor.OK, "has version 1")

	execute(t, conn, schema, "alter table SCHEMA.meta alter column schema_version set default 7", "update SCHEMA.meta set schema_version = 7, works_from = 1")
	found := findings(t, 0, where...)
	want(t, found, "schema", doctor.OK, "has version 7; this program works with 1 to 1; it works with this program")
	want(t, found, "node", doctor.OK, "joined")
	execute(t, conn, schema, "update SCHEMA.meta set works_from = 7")
	found = findings(t, 1, where...)
	want(t, found, "schema", doctor.Fail, "it needs programs that know version 7")
	want(t, found, "node", doctor.Skip, "no tables that this program knows")
}

func TestDoctor_MetaWithoutItsRow(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	execute(t, connect(t, dsn), schema, "delete from SCHEMA.meta")
	found := findings(t, 1, "--dsn", dsn, "--schema", schema)
	want(t, found, "log", doctor.Fail, "lost its only row")
	want(t, found, "node", doctor.Fail, "lost its only row")
}

func TestDoctor_Standby(t *testing.T) {
	t.Parallel()
	srv := ownServer(t, pgserver.Options{Settings: map[string]string{"max_prepared_transactions": "1"}})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	standby, err := srv.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	found := findings(t, 1, "--dsn", standby.DSN(), "--schema", schema)
	want(t, found, "server", doctor.Fail, "a standby")
	want(t, found, "node", doctor.Fail, "standby")

	conn := connect(t, dsn)
	await(t, conn, "exists (select from pg_stat_replication where replay_lsn is not null)")
	execute(t, conn, schema, "select pg_create_physical_replication_slot('forgotten', true)")
	found = findings(t, 0, "--dsn", dsn, "--schema", schema)
	want(t, found, "durability", doctor.Warn, "1 standbys")
	want(t, found, "durability", doctor.Warn, "they are asynchronous")
	want(t, found, "durability", doctor.Warn, "forgotten")

	execute(t, conn, schema, "select pg_drop_replication_slot('forgotten')")
	_, address := role(t, dsn, schema, "")
	want(t, findings(t, 1, "--dsn", address, "--schema", schema), "durability", doctor.Skip, "1 programs read WAL, and only a member of pg_read_all_stats")
}

// TestDoctor_ReadersOfWAL: what reads WAL and replays nothing is no standby.
func TestDoctor_ReadersOfWAL(t *testing.T) {
	t.Parallel()
	srv := ownServer(t, pgserver.Options{Settings: map[string]string{"wal_level": "logical"}})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	conn := connect(t, dsn)
	execute(t, conn, schema, "create publication p", "select pg_create_logical_replication_slot('subscriber', 'pgoutput')", "create database replica")
	execute(t, connect(t, strings.Replace(dsn, "/postgres?", "/replica?", 1)), schema,
		"create subscription s connection '"+dsn+"' publication p with (create_slot = false, slot_name = subscriber, copy_data = false)")
	bin, err := pgserver.Find()
	if err != nil {
		t.Fatal(err)
	}
	backup := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_basebackup"), "-d", dsn, "-D", filepath.Join(t.TempDir(), "backup"),
		"-X", "stream", "-c", "fast", "--max-rate", "32k")
	if err := backup.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { // both processes of pg_basebackup end with their connections
		execute(t, conn, schema, "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'pg_basebackup'")
		_ = backup.Wait() // an error: it was interrupted
	}()
	await(t, conn, `(select count(*) from pg_stat_replication where state = 'streaming') = 2
		and exists (select from pg_stat_replication where state = 'backup')`)
	want(t, findings(t, 0, "--dsn", dsn, "--schema", schema), "durability", doctor.OK, "0 standbys")
}

func TestDoctor_ReadOnly(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	_, address := role(t, dsn, schema, "superuser", "default_transaction_read_only = on")
	found := findings(t, 1, "--dsn", address, "--schema", schema)
	want(t, found, "server", doctor.Fail, "connections are read-only")
	want(t, found, "node", doctor.Fail, "read-only")
}

// Nodes set the isolation level that they need themselves, if no pooler keeps them from that.
func TestDoctor_Isolation(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	_, address := role(t, dsn, schema, "superuser", "default_transaction_isolation = 'serializable'")
	found := findings(t, 0, "--dsn", address, "--schema", schema)
	want(t, found, "isolation", doctor.OK, "which nodes set themselves")
	want(t, found, "node", doctor.OK, "joined")

	pooled := pooler(t, address, pgserver.PoolerOptions{Mode: "session"})
	found = findings(t, 1, "--dsn", pooled, "--schema", schema)
	want(t, found, "isolation", doctor.Fail, `default_transaction_isolation is "serializable", and the pooler`)
	want(t, found, "node", doctor.Fail, "default_transaction_isolation")
	conn := connect(t, dsn)
	paste(t, conn, found["isolation"].Advice)
	pooled = pooler(t, address, pgserver.PoolerOptions{Mode: "session"})
	want(t, findings(t, 0, "--dsn", pooled, "--schema", schema), "isolation", doctor.OK, "must stay that of the role")
}

func TestDoctor_Retention(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	where := []string{"--dsn", dsn, "--schema", schema}
	found := findings(t, 0, where...)
	want(t, found, "nodes", doctor.Skip, "no node with a server runs")
	want(t, found, "retention", doctor.Skip, "no session shows")
	runNode(t, dsn, schema, time.Minute)
	want(t, findings(t, 0, append(where, "--window", "30s")...), "retention", doctor.OK, "kept for 1m0s; the recovery window is 30s (--window)")
	want(t, findings(t, 0, append(where, "--window", "45s")...), "retention", doctor.Warn, "may not be recovered")
	found = findings(t, 1, append(where, "--window", "2m")...)
	want(t, found, "retention", doctor.Fail, "are not recovered")
	if advice := found["retention"].Advice; len(advice) != 1 || !strings.Contains(advice[0], "at least 4m0s") {
		t.Errorf("%q", advice)
	}
	execute(t, connect(t, dsn), schema, `insert into SCHEMA.sessions (pid_hash, epoch, opened, covered, window_ms, known, checkpointed, sid, namespace, initial_offset, last, expires_at)
		values ('p', 1, 0, 0, 90000, true, false, 's', '/', '', '', now() + interval '1 hour')`)
	want(t, findings(t, 1, where...), "retention", doctor.Fail, "1m30s (the longest of all sessions)")
}

// What goes wrong while a cluster runs.
func TestDoctor_Cluster(t *testing.T) {
	t.Parallel()
	srv := ownServer(t, pgserver.Options{Settings: map[string]string{"autovacuum": "off", "synchronous_commit": "off"}})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	conn := connect(t, dsn)
	execute(t, conn, schema, twoNodes, "update SCHEMA.nodes set server = 'w' where id = 2", "update SCHEMA.meta set slot_started = now() - interval '1 hour'",
		"select SCHEMA.emit_all('waits')", "update SCHEMA.outbox set at = now() - interval '1 minute'")
	// A node of doctor would relay the event.
	found := make(map[string]doctor.Finding)
	for f := range doctor.Run(t.Context(), doctor.Options{DSN: dsn, Schema: schema, Wait: once, Logger: slog.New(slog.DiscardHandler), NoNode: true}) {
		found[f.Check] = f
	}
	want(t, found, "nodes", doctor.Warn, "silent for longer than their lease: worker for 1m")
	want(t, found, "log", doctor.Warn, "the log grows")
	want(t, found, "outbox", doctor.Warn, "1 events from SQL wait, 0.0 MB, the oldest for 1m")
	want(t, found, "vacuum", doctor.Warn, "autovacuum is off")
	want(t, found, "durability", doctor.Warn, "a crash loses events")
}

func TestDoctor_DeadRows(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	execute(t, conn, schema, "alter table SCHEMA.nodes set (autovacuum_enabled = off)",
		"insert into SCHEMA.nodes (id, position, retention_ms, lease_ms, name) select n, 0, 1, 1, 'n' from generate_series(1, 11000) n", "delete from SCHEMA.nodes",
		"select pg_stat_force_next_flush()")
	want(t, findings(t, 0, "--dsn", dsn, "--schema", schema), "vacuum", doctor.Warn, "table nodes has 1100")
}

func TestDoctor_OldTransactions(t *testing.T) {
	t.Parallel()
	srv := ownServer(t, pgserver.Options{Settings: map[string]string{"max_prepared_transactions": "1"}})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	conn := connect(t, dsn)
	execute(t, conn, schema, "create table SCHEMA.mine ()", "begin", "insert into SCHEMA.mine default values", "prepare transaction 'forgotten'", "begin", "select 1")
	var f doctor.Finding
	for found := range doctor.Run(t.Context(), doctor.Options{DSN: dsn, Schema: schema, Wait: once, OldTransaction: time.Nanosecond, Logger: slog.New(slog.DiscardHandler)}) {
		if found.Check == "transactions" {
			f = found
		}
	}
	for _, want := range []string{fmt.Sprintf("process %d (", conn.PgConn().PID()), "idle in transaction", `the prepared transaction "forgotten"`} {
		if f.Status != doctor.Warn || !strings.Contains(f.Fact, want) {
			t.Errorf("no %q in %s %q", want, f.Status, f.Fact)
		}
	}
	execute(t, conn, schema, "commit", "rollback prepared 'forgotten'")
}

func TestDoctor_ConnectionsAndTimeouts(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	_, address := role(t, dsn, schema, "connection limit 6", "statement_timeout = '300ms'", "idle_session_timeout = '700ms'", "lock_timeout = '30s'")
	found := findings(t, 1, "--dsn", address, "--schema", schema) // it has no rights
	want(t, found, "connections", doctor.Warn, "of its limit of 6")
	want(t, found, "timeouts", doctor.Warn, "statement_timeout is 300ms: nodes repeat")
	want(t, found, "timeouts", doctor.Warn, "idle_session_timeout is 700ms, shorter than the time between polls")
	want(t, found, "timeouts", doctor.Warn, "lock_timeout is 30s")
}

// The clock of Postgres is ahead, by a time whose minutes the time of the request does not change.
func TestDoctor_Clock(t *testing.T) {
	t.Parallel()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil {
		t.Fatal(err)
	}
	if len(libraries) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("faketime is not installed")
		}
		t.Skip("faketime is not installed")
	}
	srv := ownServer(t, pgserver.Options{Fast: true, Env: []string{"LD_PRELOAD=" + libraries[0], "FAKETIME=+3630s", "FAKETIME_DONT_FAKE_MONOTONIC=1"}})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	want(t, findings(t, 0, "--dsn", dsn, "--schema", schema), "clock", doctor.Warn, "the clock of Postgres is 1h0m")
}
