package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/pgsocket/socketio/integration/wire"
)

// runSubprocess runs a part of this program that needs a process of its own, see startSelf.
func runSubprocess(ctx context.Context, args []string) error {
	liftLimit()
	if args[0] == "pool" && len(args) == 4 {
		return runClientPool(ctx, args[1], args[2], args[3])
	}
	if args[0] == "clients" && len(args) == 3 {
		return answerPings(ctx, args[1], args[2])
	}
	if args[0] == "publisher" && len(args) == 3 {
		return publisher(ctx, args[1], args[2])
	}
	if args[0] == "handlers" && len(args) == 3 {
		return serveHandlers(ctx, args[1], args[2])
	}
	return holdConnections(ctx, args[0])
}

// answerPings runs clients that only answer pings.
func answerPings(ctx context.Context, addr, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	err = many(n, 128, func(int) error { return wire.New(wire.Options{}).Connect(ctx, addr) })
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, "here")
	_, _ = io.Copy(io.Discard, os.Stdin) // until its end
	return nil
}

// runClientPool is a client pool that prints how many bytes it has received, or when it has received as many as
// requested.
func runClientPool(ctx context.Context, addr, size, source string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	c, err := connectPool(ctx, addr, source, n, 128)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, "here")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var want int64
		if _, err := fmt.Sscan(lines.Text(), &want); err != nil {
			return err
		}
		n, err := c.received.await(ctx, want)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(os.Stdout, n)
	}
	c.close()
	return nil
}

// liftLimit raises the limit of open files as far as possible.
func liftLimit() {
	const files = 1 << 17
	limit := syscall.Rlimit{Cur: files, Max: files}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) == nil || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	limit.Cur = limit.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // a failure shows when files run out
}
