// Matrix runs the tests of pgadapter, migrations and pgtest on every installed Postgres, over every route, with default
// and with hostile settings, and prints a table. The output of a failed cell is in .tmp/postgres.
//
//	go run ./internal/pgserver/matrix                           # everything
//	go run ./internal/pgserver/matrix -major 15,18 -route direct,transaction -settings hostile
//
// Further major versions come from the npm package in integration/postgres, see make postgres.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgsocket/socketio/internal/pgserver"
)

// A cell is one combination.
type cell struct{ major, route, settings string }

// routes are the ways in which nodes connect to Postgres.
var routes = []string{"direct", "session", "transaction", "poll"} //nolint:gochecknoglobals // constant

// hostile settings are those of databases in use that change the format or the meaning of values.
var hostile = map[string]string{ //nolint:gochecknoglobals // constant
	isolation:                             "serializable",
	"default_transaction_deferrable":      "on",
	"standard_conforming_strings":         "off",
	"backslash_quote":                     "off",
	"escape_string_warning":               "off",
	"array_nulls":                         "off",
	"transform_null_equals":               "on",
	"quote_all_identifiers":               "on",
	"DateStyle":                           "SQL, DMY",
	"IntervalStyle":                       "sql_standard",
	"TimeZone":                            "Asia/Kathmandu",
	"bytea_output":                        "escape",
	"extra_float_digits":                  "-15",
	"xmlbinary":                           "hex",
	"xmloption":                           "document",
	"search_path":                         "pg_catalog",
	"row_security":                        "off",
	"statement_timeout":                   "20s",
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "20s",
	"idle_session_timeout":                "700ms",
	"check_function_bodies":               "off",
	"plpgsql.extra_errors":                "all",
	"plpgsql.variable_conflict":           "use_column",
	"jit_above_cost":                      "0",
}

// since are hostile settings that a major version introduced.
var since = map[int]map[string]string{ //nolint:gochecknoglobals // constant
	17: {"transaction_timeout": "20s"},
}

// isolation is the setting that a pooler does not pass on. Behind a pooler Open refuses another level, which a test
// checks; the cells of the poolers have the level that its error requires.
const isolation = "default_transaction_isolation"

// suites are the tests of a route: a pooler or polling affects only the adapter. run is a pattern for go test.
var suites = map[string][]suite{ //nolint:gochecknoglobals // constant
	"direct": {{"./pgadapter", "."}, {"./migrations", "."}, {"./pgtest", "."}},
	"pooled": {{"./pgadapter", "Conformance|Emit|Trigger|Snapshot|Operations|PgBouncer|Isolation|Open_|Health_|Key_|Claim|Park|Outage|Privileges"}},
}

type suite struct{ pkg, run string }

// A filter selects tests of a cell: patterns for go test; an empty run means all, an empty skip none.
type filter struct{ run, skip string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1) //nolint:gocritic // no deferred call is needed
	}
}

func run(ctx context.Context) error {
	servers, err := found()
	if err != nil {
		return err
	}
	majors := flag.String("major", strings.Join(names(servers), ","), "majors, with commas")
	wanted := flag.String("route", strings.Join(routes, ","), "how nodes reach Postgres")
	settings := flag.String("settings", "default,hostile", "settings of the server")
	only := flag.String("run", "", "run these tests only, in place of those of the route")
	skip := flag.String("skip", "", "do not run these tests")
	flag.Parse()

	failed := 0
	for major := range strings.SplitSeq(*majors, ",") {
		bin, ok := servers[major]
		if !ok {
			return fmt.Errorf("no server of major %s found; there are %s", major, strings.Join(names(servers), ", "))
		}
		for set := range strings.SplitSeq(*settings, ",") {
			for route := range strings.SplitSeq(*wanted, ",") {
				ok, err := cell{major, route, set}.verdict(ctx, bin, filter{*only, *skip})
				if err != nil {
					return err
				}
				if !ok {
					failed++
				}
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d cells failed", failed)
	}
	return nil
}

// found maps the installed major versions to the directories of their binaries.
func found() (map[string]string, error) {
	servers := make(map[string]string)
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "integration/postgres/node_modules/postgres-*/native/bin"} {
		dirs, _ := filepath.Glob(pattern) // fails only for a malformed pattern
		for _, dir := range dirs {
			dir, err := filepath.Abs(dir)
			if err != nil {
				return nil, err
			}
			if major := regexp.MustCompile(`(?:postgresql/|postgres-)(\d+)/`).FindStringSubmatch(dir); major != nil {
				servers[major[1]] = dir
			}
		}
	}
	if len(servers) == 0 {
		return nil, pgserver.ErrNotInstalled
	}
	return servers, nil
}

func names(servers map[string]string) []string {
	var majors []string
	for major := range servers {
		majors = append(majors, major)
	}
	slices.Sort(majors)
	return majors
}

// verdict runs the tests of the cell on a new server, and prints its row of the table.
func (c cell) verdict(ctx context.Context, bin string, f filter) (ok bool, err error) {
	given, err := c.given()
	if err != nil {
		return false, err
	}
	srv, err := pgserver.Start(ctx, pgserver.Options{Bin: bin, Fast: true, Settings: given})
	if err != nil {
		return false, fmt.Errorf("postgres %s: %w", c.major, err)
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	began := time.Now()
	out, failure := c.test(ctx, srv, f)
	word := "ok"
	if failure != nil {
		word = "FAILED"
	}
	_, _ = fmt.Fprintf(os.Stdout, "postgres %-3s %-12s %-8s %-7s %s\n", c.major, c.route, c.settings, word, time.Since(began).Round(time.Second))
	if failure != nil {
		_, _ = fmt.Fprintf(os.Stdout, "%v\n%s\n", failure, shortened(out))
		err = c.keep(out)
	}
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return failure == nil, err
}

// given returns the settings of the cell's server.
func (c cell) given() (map[string]string, error) {
	given := make(map[string]string)
	switch c.settings {
	case "default":
		return given, nil
	case "hostile":
	default:
		return nil, fmt.Errorf("no settings %q", c.settings)
	}
	major, err := strconv.Atoi(c.major)
	if err != nil {
		return nil, err
	}
	maps.Copy(given, hostile)
	for first, more := range since {
		if major >= first {
			maps.Copy(given, more)
		}
	}
	if c.route == "session" || c.route == "transaction" {
		delete(given, isolation)
	}
	return given, nil
}

// keep writes the output of a failed cell to a file.
func (c cell) keep(out string) error {
	dir := filepath.Join(".tmp", "postgres")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, c.major+"-"+c.route+"-"+c.settings+".log"), []byte(out), 0o600)
}

// shortened limits the output when nearly every test fails.
func shortened(out string) string {
	const enough = 60
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) > enough {
		lines = append(lines[:enough], fmt.Sprintf("... and %d lines more", len(lines)-enough))
	}
	return strings.Join(lines, "\n")
}

// test runs the suites of the cell, in processes whose environment has the route.
func (c cell) test(ctx context.Context, srv *pgserver.Server, f filter) (string, error) {
	env := append(os.Environ(), "DATABASE_URL="+srv.DSN())
	which := suites["pooled"]
	switch c.route {
	case "direct":
		which = suites["direct"]
	case "session", "transaction":
		// PgBouncer ignores settings that it does not support, as many drivers require.
		pooler, err := pgserver.StartPooler(ctx, srv.DSN(), pgserver.PoolerOptions{
			Mode: c.route, Size: 60, Settings: map[string]string{"ignore_startup_parameters": "extra_float_digits"},
		})
		if err != nil {
			return "", err
		}
		defer pooler.Stop()
		env = append(env, "SOCKETIO_TEST_POOLER="+pooler.DSN())
		if c.route == "transaction" {
			env = append(env, "SOCKETIO_TEST_LISTEN="+srv.DSN())
		}
	case "poll":
		env = append(env, "SOCKETIO_TEST_POLL=true")
	default:
		return "", fmt.Errorf("no route %q", c.route)
	}
	var out strings.Builder
	var failed []error
	tested := false
	for _, s := range which {
		pattern := s.run
		if f.run != "" {
			pattern = f.run
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=10m", "-run", pattern, "-skip", f.skip, s.pkg)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		said := out.Len()
		cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
		if err := cmd.Run(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.pkg, err))
		}
		tested = tested || !strings.Contains(out.String()[said:], "[no tests to run]")
	}
	if !tested {
		failed = append(failed, fmt.Errorf("no test matches %q", f.run))
	}
	return out.String(), errors.Join(failed...)
}
