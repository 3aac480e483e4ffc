package deploy_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/pgtest"
)

// TestKubernetes_TwoRoles executes the default privileges of docs/deployment.md, then what the Job runs with the role that owns
// the schema, and then a node and pgsocket doctor with the role of the nodes.
func TestKubernetes_TwoRoles(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	owner, app := schema+"_owner", schema+"_app"
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // nothing was left to send
	execute := func(ctx context.Context, sql string) {
		t.Helper()
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	execute(t.Context(), "create role "+owner+" login password 'p'; create role "+app+" login password 'p'")
	t.Cleanup(func() {
		execute(context.Background(), "drop schema if exists "+schema+" cascade; drop owned by "+owner+", "+app+"; drop role "+owner+", "+app)
	})
	text, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(create schema [^`]*)```").FindStringSubmatch(string(text))
	if block == nil {
		t.Fatal("docs/deployment.md has no block of default privileges")
	}
	words := regexp.MustCompile(`\b(socketio|owner|app)\b`)
	execute(t.Context(), words.ReplaceAllStringFunc(block[1], func(word string) string {
		return map[string]string{"socketio": schema, "owner": owner, "app": app}[word]
	}))

	dir := t.TempDir()
	for in, program := range programs {
		build := exec.Command("go", "build", "-o", dir+"/", program)
		build.Dir = in
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	command := func(role, name string, args ...string) *exec.Cmd {
		at, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		at.User = url.UserPassword(role, "p")
		cmd := exec.Command(filepath.Join(dir, name), args...)
		cmd.Env = append(os.Environ(), "DATABASE_URL="+at.String())
		return cmd
	}
	for _, cmd := range []*exec.Cmd{
		command(owner, "pgsocket", "migrate", "up", "--schema", schema),
		command(owner, "chat", "-migrate", "-schema", schema),
		command(app, "pgsocket", "doctor", "--schema", schema),
	} {
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "fail  ") {
			t.Fatalf("%v: %v\n%s", cmd.Args[1:], err, out)
		}
	}
	addr := harness.FreeAddress(t)
	node := command(app, "chat", "-listen", addr, "-schema", schema)
	log := &harness.LogBuffer{}
	node.Stdout, node.Stderr = log, log
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = node.Process.Signal(os.Interrupt) // fails if it has ended
		if err := node.Wait(); err != nil {
			t.Errorf("the node ended with %v:\n%s", err, log)
		}
	}()
	if !harness.Eventually(harness.MaxWait, func() bool { return get("http://"+addr+"/readyz") == 200 }) {
		t.Fatalf("the node is not ready:\n%s", log)
	}
	var may bool // write to the table of the chat
	if err := conn.QueryRow(t.Context(), "select has_table_privilege($1, $2, 'insert')", app, schema+".room_posts").Scan(&may); err != nil || !may {
		t.Errorf("the role of the nodes may write to the table of the chat: %v, %v", may, err)
	}
}
