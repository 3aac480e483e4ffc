// Withpg runs a command with a Postgres: that of DATABASE_URL, or a private server that runs as long as the command and
// whose address the command receives in DATABASE_URL.
//
//	go run ./internal/pgserver/withpg go test ./...
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/pgsocket/socketio/internal/pgserver"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
	}
	os.Exit(code)
}

// run returns the exit code of the command, or 1 and the error if it could not be run.
func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 1, errors.New("usage: withpg command arguments")
	}
	// Signals to end are passed on to the command. After its end the server is stopped.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)

	if os.Getenv("DATABASE_URL") == "" {
		srv, err := start()
		if err != nil {
			return 1, err
		}
		defer stop(srv)
		if err := os.Setenv("DATABASE_URL", srv.DSN()); err != nil {
			return 1, err
		}
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it ends by itself, or by the signals passed on to it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	go func() { // passes signals on until the program ends
		for sig := range signals {
			_ = cmd.Process.Signal(sig) // fails when the command has ended, as wanted
		}
	}()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil // ended by a signal, it has no code
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func start() (*pgserver.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return pgserver.Start(ctx, pgserver.Options{Fast: true})
}

// stop ends the server; what goes wrong does not change how the command fared.
func stop(srv *pgserver.Server) {
	if err := srv.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
	}
}
