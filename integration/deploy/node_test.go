package deploy_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/pgtest"
)

// TestNode_ProbesWhileDraining runs the chat as the manifests do. While a node drains it is alive and not ready.
func TestNode_ProbesWhileDraining(t *testing.T) { //nolint:paralleltest // it runs several processes
	dsn, schema := pgtest.Schema(t)
	program := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/pgsocket/socketio/examples/chat").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	chat := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, append(args, "-schema", schema)...)
		cmd.Env = append(os.Environ(), "DATABASE_URL="+dsn)
		cmd.Stderr = t.Output()
		return cmd
	}
	if err := chat("-migrate").Run(); err != nil {
		t.Fatal("migrate: ", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close() // the node listens there
	node := chat("-node", "pod-1", "-listen", addr, "-drain", "60s")
	stdout, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Process.Kill() }) // fails if it has ended
	if lines := bufio.NewScanner(stdout); !lines.Scan() {
		t.Fatal("the node is not ready")
	}
	probe := func(path string) int {
		resp, err := http.Get(fmt.Sprintf("http://%s/%s", addr, path))
		if err != nil {
			return 0
		}
		_ = resp.Body.Close() // the status is enough
		return resp.StatusCode
	}
	if live, ready := probe("livez"), probe("readyz"); live != 200 || ready != 200 {
		t.Errorf("livez %d, readyz %d", live, ready)
	}

	cs := harness.NewClients(t, 1)
	cs.Open(1, "http://"+addr, harness.Command{"auth": map[string]string{"name": "Ada"}})
	cs.Await(harness.MaxWait, "connect", cs.AllConnectedLocked)

	// The node cannot store the session while this transaction lasts, and waits for that.
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table := pgx.Identifier{schema, "sessions"}.Sanitize()
	if _, err := tx.Exec(t.Context(), "lock table "+table+" in share mode"); err != nil {
		t.Fatal(err)
	}
	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waits := func() (waits bool) {
		err := tx.QueryRow(t.Context(), "select exists (select from pg_locks where not granted and relation = $1::text::regclass)", table).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		return waits
	}
	if !harness.Eventually(harness.MaxWait, waits) {
		t.Fatal("the node does not wait for Postgres")
	}
	if !harness.Eventually(10*time.Second, func() bool { return probe("readyz") == http.StatusServiceUnavailable }) {
		t.Error("the node drains and is ready")
	}
	if live := probe("livez"); live != http.StatusOK {
		t.Errorf("the node drains; livez %d", live)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := node.Wait(); err != nil {
		t.Error("the node ended with ", err)
	}
}
