// Package api_test exercises the methods, events and options in docs/protocol.md with the official client, one after the
// other. Servers run in the test's process; clients are scripts in Node.js.
package api_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
)

// patience is a deadline that is reached only if something is wrong.
const patience = 2 * time.Minute

// plain returns a server without recovery, whose events carry only what was emitted.
func plain(more socketio.Options) *socketio.Server {
	more.Recovery = socketio.Recovery{Disabled: true}
	return server(more)
}

func server(opts socketio.Options) *socketio.Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	// How long a shutdown waits for a client that has stopped polling, because its script has ended.
	opts.WriteTimeout = time.Second
	return socketio.NewServer(&opts)
}

// serve serves a server at the default path until the test ends.
func serve(t *testing.T, io *socketio.Server) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", io)
	url := listen(t, mux)
	t.Cleanup(func() { shutdown(t, io) })
	return url
}

func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return web.URL
}

func shutdown(t *testing.T, io *socketio.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // the test's context has ended
	defer cancel()
	if err := io.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// runScript runs a script with clients of the server at url, and fails the test unless it succeeds and prints exactly
// want. See ../js/script.mjs.
func runScript(t *testing.T, url, script, want string) {
	t.Helper()
	if got := run(t, url, script, "websocket"); got != lines(want) {
		t.Errorf("output of the clients\n%s\nwant\n%s", got, lines(want))
	}
}

// runScriptEveryTransport runs a script over each transport, and over one that is upgraded, each time with a new
// server.
func runScriptEveryTransport(t *testing.T, begin func() string, script, want string) {
	t.Helper()
	for _, transports := range []string{"websocket", "polling", "polling,websocket"} {
		if got := run(t, begin(), script, transports); got != lines(want) {
			t.Errorf("output of the clients over %s\n%s\nwant\n%s", transports, got, lines(want))
		}
	}
}

func run(t *testing.T, url, script, transports string) string {
	t.Helper()
	const dir = "../js"
	if _, err := os.Stat(dir + "/node_modules/socket.io-client"); err != nil {
		t.Fatal("the official client is not installed: run npm ci in integration/js, or make setup")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	script = `import { io, Manager, url, open, connect, next, refusal, ask, received, say } from "./script.mjs";` + script + "\nprocess.exit(0);"
	cmd := exec.CommandContext(ctx, "node", "--input-type=module", "--eval", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "URL="+url, "TRANSPORTS="+transports)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\noutput\n%s", err, &complaints, out)
	}
	return strings.TrimSpace(string(out))
}

// lines returns the lines of a text without their indentation.
func lines(text string) string {
	var all []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		all = append(all, strings.TrimSpace(line))
	}
	return strings.Join(all, "\n")
}
