package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// pooled starts a PgBouncer in transaction mode, with two connections to Postgres
// for all of its clients, and returns its address.
func (b *bench) pooled(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // which is not in everybody's path
	}
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("PgBouncer is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	to := b.conn.Config()
	port := freePort(t)
	file := filepath.Join(t.TempDir(), "pgbouncer.ini")
	ini := fmt.Sprintf(`[databases]
pooled = host=%s port=%d dbname=%s user=%s password='%s'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 100
`, to.Host, to.Port, to.Database, to.User, to.Password, port)
	if err := os.WriteFile(file, []byte(ini), 0o600); err != nil {
		t.Fatal(err)
	}
	args := "-q"
	if os.Geteuid() == 0 {
		args = "-q -u nobody" // it refuses to run as root
	}
	// The shell ends it when we do, in whatever way: its standard input ends then.
	cmd := exec.Command("sh", "-c", `"$0" `+args+` "$1" & cat; kill $!; wait $!`, program, file)
	said := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = said, said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // how it was killed
		if t.Failed() {
			t.Logf("PgBouncer said: %s", said)
		}
	})
	// PgBouncer 1.21 and later know prepared statements; Debian's does not.
	address := fmt.Sprintf("postgres://any@127.0.0.1:%s/pooled?sslmode=disable&default_query_exec_mode=exec", port)
	eventually(t, "PgBouncer answers", func() bool {
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	})
	return address
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// TestThroughPgBouncer: eight clients share two connections to Postgres and emit in
// every way; of the nodes one listens beside the pooler, and one only polls.
func TestThroughPgBouncer(t *testing.T) {
	t.Parallel()
	const emitters, rounds = 8, 15
	b := newBench(t)
	execOn(t, b.conn, "create table o (id text primary key)", "select attach_trigger('o', 'all', 'o')")
	direct, pooled := b.dsn, b.pooled(t)
	b.dsn = pooled
	_, listening := b.nodes(t, 1, &Options{ListenDSN: direct})
	dbs, polling := b.nodes(t, 1, &Options{PollOnly: true})

	var emitting sync.WaitGroup
	for e := range emitters {
		emitting.Go(func() {
			if err := emitPooled(t.Context(), pooled, b.schema, e, rounds); err != nil {
				t.Errorf("emitter %d: %v", e, err)
			}
		})
	}
	emitting.Wait()
	if t.Failed() {
		return
	}

	// Of each round an event by SQL, one by Go and one of the trigger; keyed ones once for all.
	const total = emitters*rounds*3 + rounds
	got := adaptertest.Payloads(listening[0].Expect(t, total))
	if other := adaptertest.Payloads(polling[0].Expect(t, total)); !slices.Equal(got, other) {
		t.Error("the nodes disagree")
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(got)))); n != total {
		t.Errorf("%d different events of %d", n, total)
	}
	conn, err := pgx.Connect(t.Context(), pooled)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var mark string
	if err := conn.QueryRow(t.Context(), "select "+quoted(b.schema)+".bookmark()").Scan(&mark); err != nil {
		t.Fatal(err)
	}
	if _, err := dbs[0].Locate(t.Context(), mark); err != nil {
		t.Error(err)
	}
}

// emitPooled emits in transactions, all through one client of the pooler.
func emitPooled(ctx context.Context, pooled, schema string, number, rounds int) error {
	conn, err := pgx.Connect(ctx, pooled)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for i := range rounds {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			id := fmt.Sprintf("%d-%d", number, i)
			for _, sql := range []string{
				"select SCHEMA.emit('all', 'sql', to_jsonb($1::text))",
				"savepoint s", "select SCHEMA.emit('all', 'never')", "rollback to s",
				"insert into SCHEMA.o values ($1)",
			} {
				var args []any
				if strings.Contains(sql, "$1") {
					args = []any{id}
				}
				if _, err := tx.Exec(ctx, strings.ReplaceAll(sql, "SCHEMA", quoted(schema)), args...); err != nil {
					return err
				}
			}
			if _, err := EmitTx(ctx, tx, adaptertest.Event(`["go","%s"]`, id), &EmitOptions{Schema: schema}); err != nil {
				return err
			}
			_, err := EmitTx(ctx, tx, adaptertest.Event(`["once",%d]`, i), &EmitOptions{Schema: schema, Key: strconv.Itoa(i)})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
