// Pgsocket manages the schema of a cluster, inspects the cluster, and emits events.
//
//	pgsocket migrate up        create or update the tables
//	pgsocket migrate down      remove them
//	pgsocket migrate version   print their version
//	pgsocket migrate force n   record their version, after a manual repair
//	pgsocket status            nodes, sessions, log; with --watch again and again
//	pgsocket tail              print events as they are emitted
//	pgsocket emit              emit an event
//	pgsocket doctor            check the database, its settings and this address
//	pgsocket version           the version of this program
//	pgsocket completion        a script that completes commands and flags in a shell
//
// Its exit code is 0, or 1 when the command failed (of doctor: when a check failed), or 2
// for wrong arguments. An error is one line on stderr. A command that is interrupted exits
// with 128 plus the number of the signal, 130 for Ctrl-C; tail and status --watch, which
// run until then, exit with 0. Colors are used on a terminal only, unless NO_COLOR is set.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// errUsage reports wrong arguments.
var errUsage = errors.New("wrong arguments")

const (
	exitFailure = 1
	exitUsage   = 2
	exitSignal  = 128 // plus the number of the signal
)

func main() {
	ctx, stop := untilSignal()
	err := run(ctx, os.Args[1:])
	code := exitCode(ctx, err)
	if code > exitSignal {
		err = context.Cause(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgsocket:", oneLine(err))
	}
	os.Exit(code)
}

func exitCode(ctx context.Context, err error) int {
	interrupted, ok := errors.AsType[interruption](context.Cause(ctx))
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return exitUsage
	case ok:
		return exitSignal + int(interrupted.signal)
	}
	return exitFailure
}

// An interruption is the cause of a context that a signal ended.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string { return "interrupted (" + i.signal.String() + ")" }

// untilSignal returns a context that ends with an interruption at SIGINT and SIGTERM. A
// second signal ends the program at once.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with ctx
		select {
		case s := <-signals:
			signal.Stop(signals)
			if number, ok := s.(syscall.Signal); ok {
				cancel(interruption{number})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// oneLine returns the text of an error without line breaks, which the errors of
// connections to several hosts and the suggestions for misspelled commands have.
func oneLine(err error) string { return oneLineText(err.Error()) }

func oneLineText(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case b.Len() == 0:
		case strings.HasSuffix(b.String(), ":") || strings.HasSuffix(b.String(), "?"):
			b.WriteString(" ")
		default:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return printable(b.String())
}
