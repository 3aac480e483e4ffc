package pgadapter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// A tap is a proxy between nodes and Postgres that records what the nodes send.
type tap struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.Write(b)
}

func (p *tap) has(secret string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Contains(p.sent.Bytes(), []byte(secret))
}

// tapped returns a bench whose connections go through a tap.
func (b *bench) tapped(t *testing.T) (*bench, *tap) {
	t.Helper()
	config, err := pgx.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &tap{}
	go func() { // ends when the listener is closed
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", net.JoinHostPort(config.Host, fmt.Sprint(config.Port)))
			if err != nil {
				_ = client.Close()
				return
			}
			go func() { _, _ = io.Copy(io.MultiWriter(server, p), client); _ = server.Close() }() // until one side closes
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()                    // as well
		}
	}()
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	c := *b
	c.dsn = u.String()
	return &c, p
}

// everything returns the content of the tables and views of the schema, as text.
func (b *bench) everything(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, table := range b.rows(t, "select c.oid::regclass::text from pg_class c where relnamespace = current_schema()::regnamespace and relkind in ('r', 'v')") {
		for _, row := range b.rows(t, "select t::text from "+table+" t") {
			all.WriteString(row)
		}
	}
	for _, frame := range b.rows(t, "select encode(frame, 'escape') from log") {
		all.WriteString(frame)
	}
	return all.String()
}

// A private id resumes its session on any node, and never reaches Postgres: not in a statement, a bind parameter, a
// table, a view or a notification. Nothing that can be read there resumes the session.
func TestPrivateID_NeverReachesPostgres(t *testing.T) {
	t.Parallel()
	plain := newBench(t)
	b, sent := plain.tapped(t)
	spy := b.stranger(t)
	var logged tap
	opts := &Options{Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	dbs := []*DB{b.open(t, opts), b.open(t, opts)}
	first, second := serve(t, dbs[0]), serve(t, dbs[1])
	var victim testClient
	victim.connect(t, first)
	say(t, first, "1")
	if got := victim.next(t); got != "1" {
		t.Fatalf("received %q", got)
	}
	pid, id := victim.pid, ""
	for s := range first.Sockets() {
		id = string(s.ID())
	}
	victim.connect(t, second) // the first node must release the session
	if !victim.recovered {
		t.Fatal("not recovered")
	}
	say(t, second, "2")
	if got := victim.next(t); got != "2" {
		t.Fatalf("received %q", got)
	}
	if n := b.int(t, "select count(*) from view_packets where kind = 'session_moved' and payload is null"); n != 1 {
		t.Errorf("%d evictions", n)
	}
	payloads := []string{nextPayload(t, spy)}
	execOn(t, spy, "select") // receives pending notifications as well
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		n, err := spy.WaitForNotification(over)
		if err != nil {
			break
		}
		payloads = append(payloads, n.Payload)
	}
	if sent.has(pid) || logged.has(pid) || strings.Contains(b.everything(t), pid) || strings.Contains(fmt.Sprint(payloads), pid) {
		t.Errorf("the private id: sent to Postgres %v, logged by the node %v", sent.has(pid), logged.has(pid))
	}

	// The hash, which the database has instead.
	hash := recovery.HashPID(pid)
	if !strings.Contains(b.everything(t), hash) {
		t.Error("the database does not have the hash")
	}
	thief := testClient{pid: hash}
	thief.connect(t, first)
	if thief.recovered {
		t.Error("recovered with the hash")
	}
	if err := said.Emit(t.Context(), first.To(socketio.Room(id)), "private"); err != nil {
		t.Fatal(err)
	}
	if got := victim.next(t); got != "private" {
		t.Errorf("the victim received %q", got)
	}
	if strings.Contains(strings.Join(b.rows(t, "select v::text from view_sessions v union all select v::text from view_packets v"), ""), hash) {
		t.Error("the views show the hash")
	}
}

// An identity is stored as a hash that differs between sessions.
func TestIdentity_IsStoredAsAHash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	opts := &socketio.Options{Adapter: db}
	opts.Recovery.Store = db.Sessions()
	opts.Recovery.Identity = func(_ context.Context, h *socketio.Handshake) (string, error) {
		var auth struct{ Offset string } // stands for a token
		err := json.Unmarshal(h.Auth, &auth)
		return auth.Offset, err
	}
	server := socketio.NewServer(opts)
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	for range 2 {
		g := testClient{offset: "alice@example.org"}
		g.connect(t, server)
	}
	got := b.rows(t, "select identity from sessions where initial_offset = '' order by identity")
	if len(got) != 2 || got[0] == got[1] || slices.Contains(got, "") {
		t.Errorf("identities %q", got)
	}
	if strings.Contains(b.everything(t), "alice") {
		t.Error("the database has the identity")
	}
}

// The handshake of a client and the data of its socket are in the log after the socket was
// fetched. The views, which a role with allow_read can read, do not show them.
func TestFetch_ReadersSeeNoHandshake(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := serve(t, b.open(t, nil))
	g := testClient{offset: "a-token"} // of its auth object
	g.connect(t, server)
	for s := range server.Sockets() {
		if err := socketio.Data[string]("user").Set(t.Context(), s, "secret-data"); err != nil {
			t.Fatal(err)
		}
	}
	for s, err := range server.All().Fetch(t.Context()) {
		if err != nil || !strings.Contains(string(s.Handshake().Auth), "a-token") {
			t.Fatalf("fetched %v, %v", s, err)
		}
	}
	shown := strings.Join(b.rows(t, "select v::text from view_packets v union all select v::text from view_sessions v"), "")
	for _, secret := range []string{"a-token", "secret-data"} {
		if strings.Contains(shown, secret) {
			t.Errorf("the views show %s: %s", secret, shown)
		}
		if all := b.everything(t); !strings.Contains(all, secret) {
			t.Errorf("the tables do not have %s: %s", secret, all)
		}
	}
}

// A role without privileges takes all locks that it can; emits, the relay and sweeps continue.
func TestAppendLock_StrangersCannotTakeIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, nil)
	stranger := b.stranger(t)
	b.exec(t, "select allow_operate($1::text::regrole), allow_read($1::text::regrole)", quoted(b.schema+"_stranger"))
	t.Cleanup(func() { b.exec(t, "drop owned by "+quoted(b.schema+"_stranger")) })
	oid := b.int(t, "select 'meta'::regclass::oid::bigint")
	execOn(t, stranger, "begin", fmt.Sprintf("select pg_advisory_lock(1886613099, %d), pg_advisory_lock(1886613100, %[1]d)", oid))
	for _, sql := range []string{
		"lock table append_lock in share update exclusive mode", "lock table append_lock in access share mode", "lock table meta in row share mode",
		"select from meta for update", "select from append_lock for share", "lock table log in access share mode",
	} {
		execOn(t, stranger, "savepoint s")
		if _, err := stranger.Exec(t.Context(), sql); sqlState(err) != "42501" {
			t.Errorf("%s: %v, want a refusal", sql, err)
		}
		execOn(t, stranger, "rollback to s")
	}
	delivered(t, dbs[0], adaptertest.Event("1"))
	execOn(t, b.conn, "select emit_all('2')")
	recorders[0].Expect(t, 2)
	b.exec(t, "update meta set slot_started = slot_started - interval '1 hour'")
	if b.int(t, "select empty_slot('1 s')::int") != 1 || b.int(t, "select switch_slot('1 s')::int") != 1 {
		t.Error("the log was not rotated")
	}
	execOn(t, stranger, "rollback")

	// The role that holds the lock is visible.
	execOn(t, b.conn, "begin", "lock table append_lock in share update exclusive mode")
	if n := b.int(t, "select count(*) from pg_locks l join pg_stat_activity a using (pid) where l.relation = 'append_lock'::regclass"); n != 1 {
		t.Errorf("%d holders", n)
	}
	execOn(t, b.conn, "rollback")
}

func TestOpen_ErrorsQuoteNoPassword(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	const dsn = "host=h user=u password = hunter2 port=x"
	_, err := Open(ctx, dsn, nil)
	_, listenErr := Open(ctx, "host=h", &Options{ListenDSN: dsn})
	_, emitterErr := OpenEmitter(ctx, dsn, nil)
	for _, err := range []error{err, listenErr, emitterErr} {
		if err == nil || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
