package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// A command is a program with a directory and additional environment variables, before its arguments.
type command struct {
	dir string
	env []string
}

// run runs the program and returns its standard output; an error contains everything that it printed.
func (c command) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	var out, all strings.Builder
	cmd.Stdout, cmd.Stderr = &both{&out, &all}, &all
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, all.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// both writes to two builders.
type both [2]*strings.Builder

func (b *both) Write(p []byte) (int, error) {
	b[0].Write(p)
	return b[1].Write(p)
}

// git runs git in a directory.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	return command{dir: dir}.run(ctx, "git", args...)
}
