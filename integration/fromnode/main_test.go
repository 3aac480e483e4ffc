// Package fromnode_test runs the servers of docs/from-node.md: the Node ones with the official server, ours beside them, and
// the same client against both.
package fromnode_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/pgtest"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	nodeServers = "../js/fromnode"
	goServers   = "examples"
)

// programs builds the servers in Go, once, and returns their directory.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "fromnode")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "./"+goServers+"/...").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
})

// goServer starts a server in Go, as many processes as there are addresses.
func goServer(t *testing.T, name, dsn string, addresses ...string) {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addresses {
		start(t, []string{"PORT=" + port(addr), "DATABASE_URL=" + dsn}, filepath.Join(dir, name))
	}
	await(t, addresses)
}

// nodeServer starts a server in Node. It is up when the addresses are; PORT is that of the first.
func nodeServer(t *testing.T, name, dsn string, env []string, addresses ...string) (stop func()) {
	t.Helper()
	stop = start(t, append(env, "PORT="+port(addresses[0]), "DATABASE_URL="+dsn), "node", filepath.Join(nodeServers, name+".mjs"))
	await(t, addresses)
	return stop
}

func await(t *testing.T, addresses []string) {
	t.Helper()
	for _, addr := range addresses {
		if !harness.Listens(addr) {
			t.Fatal(addr, " is not up")
		}
	}
}

// start runs a program until the test ends, or until the returned function is called.
func start(t *testing.T, env []string, program string, args ...string) (stop func()) {
	t.Helper()
	log := &harness.LogBuffer{}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		early := cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
		_ = cmd.Wait()
		if early != nil || t.Failed() {
			t.Errorf("output of %s %v: %s", program, args, log)
		}
	})
	t.Cleanup(stop)
	return stop
}

// client runs a scenario of client.mjs, and returns what it printed.
func client(t *testing.T, scenario string, urls ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.MaxWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{filepath.Join(nodeServers, "client.mjs"), scenario}, urls...)...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the client: %v after\n%s", err, out)
	}
	return out
}

// two returns the addresses of a server of two processes, at ports in succession, and their URLs.
func two(t *testing.T) (addresses, urls []string) {
	t.Helper()
	first := harness.FreeAddress(t)
	number, err := strconv.Atoi(port(first))
	if err != nil {
		t.Fatal(err)
	}
	second := fmt.Sprint("127.0.0.1:", number+1)
	return []string{first, second}, []string{"http://" + first, "http://" + second}
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// database creates a database with the table of the chat, and returns its address.
func database(t *testing.T) string {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprint("fromnode_", rand.Uint64())
	if _, err := admin.Exec(t.Context(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := admin.Exec(context.Background(), "drop database "+name+" with (force)")
		_ = admin.Close(context.Background()) // nothing was left to send
		if err != nil {
			t.Error(err)
		}
	})
	at, err := url.Parse(pgtest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	at.Path = "/" + name
	table, err := os.ReadFile("messages.sql")
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, at.String())
	if _, err := conn.Exec(t.Context(), string(table)); err != nil {
		t.Fatal(err)
	}
	return at.String()
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // nothing was left to send
	return conn
}
