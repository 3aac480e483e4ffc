package pgserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/internal/pgserver"
)

// TestMain makes the test binary also the process that TestServer_EndsWithTheProcess kills.
func TestMain(m *testing.M) {
	if os.Getenv("PGSERVER_TEST_VICTIM") == "" {
		os.Exit(m.Run())
	}
	srv, err := pgserver.Start(context.Background(), pgserver.Options{Fast: true})
	if err == nil && os.Getenv("PGSERVER_TEST_VICTIM") == "suspended" {
		err = srv.Suspend()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(srv.Dir())
	fmt.Println(srv.DSN())
	select {}
}

func TestRestart_KeepsData(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgserver.Mode{pgserver.Fast, pgserver.Immediate} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			srv := start(t, pgserver.Options{Fast: true, Settings: map[string]string{"work_mem": "7MB"}})
			createKept(t, srv)

			if err := srv.Restart(t.Context(), mode); err != nil {
				t.Fatal(err)
			}

			if got := query(t, srv, `select n::text from kept`); got != "42" {
				t.Errorf("after the restart n = %s, want 42", got)
			}
			if got := query(t, srv, `show work_mem`); got != "7MB" {
				t.Errorf("after the restart work_mem = %s, want 7MB", got)
			}
		})
	}
}

func TestStart_ExistingDirectory(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "pgserver-test-") //nolint:usetesting // t.TempDir is in a directory of root, to which the server's user has no access
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	first := start(t, pgserver.Options{Dir: dir})
	createKept(t, first)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second := start(t, pgserver.Options{Dir: dir})

	if got := query(t, second, `select n::text from kept`); got != "42" {
		t.Errorf("in the second server n = %s, want 42", got)
	}
}

func TestSuspend_Resume(t *testing.T) {
	t.Parallel()
	srv := start(t, pgserver.Options{Fast: true})
	conn := connect(t, srv)
	if err := srv.Suspend(); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() { // ends when the server answers or the test's context ends
		_, err := conn.Exec(t.Context(), `select 1`)
		answer <- err
	}()

	select {
	case err := <-answer:
		t.Fatalf("a suspended server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := srv.Resume(); err != nil {
		t.Fatal(err)
	}

	if err := <-answer; err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestStop_LeavesNothing(t *testing.T) {
	t.Parallel()
	srv := start(t, pgserver.Options{Fast: true})
	connect(t, srv)
	if err := srv.Suspend(); err != nil {
		t.Fatal(err)
	}

	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}

	awaitGone(t, srv.Dir(), srv.DSN())
	if err := srv.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

func TestStart_ReportsPostgresOutput(t *testing.T) {
	t.Parallel()

	_, err := pgserver.Start(t.Context(), pgserver.Options{Settings: map[string]string{"no_such_setting": "1"}})

	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("error %v does not contain the wrong setting", err)
	}
}

func TestServer_EndsWithTheProcess(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"running", "suspended"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			victim := exec.CommandContext(t.Context(), os.Args[0])
			victim.Env = append(os.Environ(), "PGSERVER_TEST_VICTIM="+state)
			victim.Stderr = os.Stderr
			out, err := victim.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			lines.Scan()
			dir := lines.Text()
			lines.Scan()
			dsn := lines.Text()

			if err := victim.Process.Kill(); err != nil {
				t.Fatal(err)
			}

			_ = victim.Wait()
			awaitGone(t, dir, dsn)
		})
	}
}

func start(t *testing.T, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	srv, err := pgserver.Start(t.Context(), opts)
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

func connect(t *testing.T, srv *pgserver.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func query(t *testing.T, srv *pgserver.Server, sql string) (value string) {
	t.Helper()
	if err := connect(t, srv).QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// awaitGone polls until the guard has removed the directory of a server and its port is closed.
func awaitGone(t *testing.T, dir, dsn string) {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, dirErr := os.Stat(dir)
		conn, dialErr := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if errors.Is(dirErr, fs.ErrNotExist) && dialErr != nil {
			return
		}
		if dialErr == nil {
			_ = conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("left over: directory %s (%v), address %s (%v)", dir, dirErr, address, dialErr)
		}
	}
}

// createKept makes a table that must survive the test's faults.
func createKept(t *testing.T, srv *pgserver.Server) {
	t.Helper()
	if _, err := connect(t, srv).Exec(t.Context(), `create table kept as select 42 as n`); err != nil {
		t.Fatal(err)
	}
}
