package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// readmeLimit is how long the program of the README and its client have to exchange an event: starting a Postgres is part of it.
const readmeLimit = time.Minute

// runREADME builds the program of the README in a module that requires every library of the release, runs it on a Postgres,
// and runs the client of the README against it, which is the official one.
func (c *consumer) runREADME(ctx context.Context) error {
	at, err := c.in("readme")
	if err != nil {
		return err
	}
	if err := c.get(ctx, at, "main", c.published()...); err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	if err := c.writeREADME(at.dir, address); err != nil {
		return err
	}
	if _, err := at.run(ctx, "go", "mod", "tidy"); err != nil { // the service imports more than the modules do
		return err
	}
	program := c.bin("readme")
	if _, err := at.run(ctx, "go", "build", "-o", program, "."); err != nil {
		return err
	}
	withpg := c.bin("withpg")
	if _, err := (command{dir: c.dir, env: c.env}).run(ctx, "go", "build", "-o", withpg, "./internal/pgserver/withpg"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readmeLimit)
	defer cancel()
	run := exec.CommandContext(ctx, withpg, program)
	run.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DATABASE_URL=") }) // a Postgres of its own
	output, err := whileRunning(run, func() error { return c.runClient(ctx, at.dir) })
	if err != nil {
		return err
	}
	return wantSpans(output)
}

// wantSpans looks for the spans of the event of the client. They have begun before it comes back to the client.
func wantSpans(output string) error {
	for _, name := range []string{"connect", "handle chat:post", "emit chat:post", "append"} {
		if !strings.Contains(output, "span: "+name+"\n") {
			return fmt.Errorf("the program of the README has no span %q:\n%s", name, output)
		}
	}
	return nil
}

// An edit changes the README's text where a trial cannot be like what a reader types.
type edit struct{ old, new string }

// service is what a service has of its own: a pool, and OpenTelemetry, whose spans it prints.
const service = `package main

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pgsocket/socketio/otelsocketio"
)

func ownPool(ctx context.Context, dsn string) *pgxpool.Pool {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		log.Fatal(err)
	}
	return pool
}

var tracer = otelsocketio.New(&otelsocketio.Options{
	TracerProvider: sdk.NewTracerProvider(sdk.WithSpanProcessor(printer{})),
	Propagator:     propagation.TraceContext{},
})

type printer struct{}

func (printer) OnStart(_ context.Context, s sdk.ReadWriteSpan) { fmt.Println("span:", s.Name()) }
func (printer) OnEnd(sdk.ReadOnlySpan)                         {}
func (printer) Shutdown(context.Context) error                 { return nil }
func (printer) ForceFlush(context.Context) error               { return nil }
`

// writeREADME writes the program and the client of the README.
func (c *consumer) writeREADME(dir, address string) error {
	text, err := os.ReadFile(filepath.Join(c.dir, "README.md"))
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name, language string
		edits          []edit
	}{
		{"main.go", "go", []edit{
			{`":3000"`, `"` + address + `"`},
			// As a service that has a pool and traces.
			{"pgadapter.Open(ctx, dsn, nil)", "pgadapter.New(ctx, ownPool(ctx, dsn), &pgadapter.Options{TraceAppend: tracer.TraceAppend})"},
			{"Adapter:  db,", "Adapter: db, Tracer: tracer,"},
		}},
		{"client.mjs", "js", []edit{{"localhost:3000", address}}},
	} {
		source, err := block(string(text), file.language, file.edits)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file.name), []byte(source), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "service.go"), []byte(service), 0o600); err != nil {
		return err
	}
	modules := filepath.Join("integration", "js", "node_modules")
	return os.Symlink(filepath.Join(c.source, modules), filepath.Join(dir, "node_modules"))
}

// block returns the first code block of a language, edited.
func block(text, language string, edits []edit) (string, error) {
	_, source, opened := strings.Cut(text, "```"+language+"\n")
	source, _, closed := strings.Cut(source, "```")
	if !opened || !closed {
		return "", fmt.Errorf("README.md has no block of %s", language)
	}
	for _, e := range edits {
		if strings.Count(source, e.old) != 1 {
			return "", fmt.Errorf("README.md: %q is not once in the block of %s", e.old, language)
		}
		source = strings.Replace(source, e.old, e.new, 1)
	}
	return source, nil
}

// runClient runs the client until it has printed what it prints when it is connected and its event came back.
func (c *consumer) runClient(ctx context.Context, dir string) error {
	client := exec.CommandContext(ctx, "node", "client.mjs")
	client.Dir = dir
	client.Stderr = os.Stderr
	out, err := client.StdoutPipe()
	if err != nil {
		return err
	}
	if err := client.Start(); err != nil {
		return err
	}
	defer client.Wait()         //nolint:errcheck // it is killed
	defer client.Process.Kill() //nolint:errcheck // it may have ended
	missing := []string{"a new session", "hello"}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		missing = slices.DeleteFunc(missing, func(want string) bool { return want == lines.Text() })
		if len(missing) == 0 {
			return nil
		}
	}
	return fmt.Errorf("the client of the README did not print %q", missing)
}

// whileRunning runs a program as long as a function runs, and returns its output. It reports what ends too early.
func whileRunning(program *exec.Cmd, do func() error) (string, error) {
	var output strings.Builder
	program.Stdout, program.Stderr = &output, &output
	program.Cancel = func() error { return program.Process.Signal(syscall.SIGTERM) }
	program.WaitDelay = 10 * time.Second
	if err := program.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }() // ends with the program, which is waited for below
	done := make(chan error, 1)
	go func() { done <- do() }() // ends with ctx at the latest
	select {
	case err := <-ended:
		return "", fmt.Errorf("the program of the README ended: %w\n%s", err, output.String())
	case err := <-done:
		err = errors.Join(err, program.Process.Signal(syscall.SIGTERM))
		<-ended //nolint:errcheck // it was ended by a signal
		if err != nil {
			return "", fmt.Errorf("%w\n%s", err, output.String())
		}
		return output.String(), nil
	}
}

// freeAddress returns an address of this host at which nothing listens.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
