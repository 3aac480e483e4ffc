package browser_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// TestSQL_EmitFromPsqlReachesPages runs what README.md shows, as it stands there, beside a page in a browser.
func TestSQL_EmitFromPsqlReachesPages(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	d := startDemo(t, dsn, schema)
	sql := strings.ReplaceAll(readmeSQL(t), "socketio.emit(", `"`+schema+`".emit(`)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	page := exec.CommandContext(ctx, "node", "sql.mjs", chromium(t), d.urls()[1], "hello from SQL")
	page.Stderr = os.Stderr
	out, err := page.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "in the lobby\n" {
		t.Fatalf("the page said %q, %v, %v", line, err, page.Wait())
	}

	psql := exec.CommandContext(ctx, psqlProgram(t), "-X", "-v", "ON_ERROR_STOP=1", dsn)
	psql.Stdin = strings.NewReader(sql)
	if said, err := psql.CombinedOutput(); err != nil {
		t.Errorf("psql: %v\n%s", err, said)
	}

	rest, _ := io.ReadAll(lines) // ends with the page
	if err := page.Wait(); err != nil {
		t.Errorf("the page: %v %s", err, rest)
	}
}

// readmeSQL returns the SQL of README.md.
func readmeSQL(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "```sql\n")
	sql, _, ended := strings.Cut(after, "```")
	if !found || !ended || !strings.Contains(sql, "socketio.emit(") {
		t.Fatal("README.md shows no emit from SQL")
	}
	return sql
}

// psqlProgram returns the path of psql: that of the server's programs, if it is not in PATH.
func psqlProgram(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("psql"); err == nil {
		return path
	}
	bin, err := pgserver.Find()
	if err != nil {
		t.Fatal("psql is not installed: ", err)
	}
	return filepath.Join(bin, "psql")
}
