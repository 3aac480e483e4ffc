// Release releases the modules of this repository together, and plays a consumer of the release before.
//
//	scripts/release v0.1.0             commit, tags
//	scripts/release --dry-run v0.1.0   everything except them
//	scripts/consumer                   only the consumer, of the tree as it is
//
// All modules have one version. The release commit sets the require lines between them and removes their replace
// directives; the tags vX.Y.Z and module/vX.Y.Z name it. A second commit brings the directives back, for development.
// A module is published unless a comment above the module line of its go.mod begins with "not published".
//
// Everything is made in a clone, and tried there: a consumer gets, builds and installs each module through a module proxy,
// and runs the program and the client of the README. The tree changes only when all of that has worked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	dir := flags.String("dir", ".", "the `directory` of the tree")
	dry := flags.Bool("dry-run", false, "do everything except the commits and the tags")
	only := flags.Bool("consumer", false, "only play the consumer, of the tree as it is")
	var versions []string
	for len(args) > 0 { // flags may follow the version
		if err := flags.Parse(args); err != nil {
			return err
		}
		if args = flags.Args(); len(args) > 0 {
			versions, args = append(versions, args[0]), args[1:]
		}
	}
	r := release{dir: *dir, dry: *dry, out: os.Stdout, try: try}
	switch {
	case *only && len(versions) == 0:
		return r.consume(ctx)
	case !*only && len(versions) == 1:
		return r.release(ctx, versions[0])
	}
	return errors.New("usage: scripts/release [--dry-run] vX.Y.Z, or scripts/consumer")
}

// A release is a run of this program.
type release struct {
	dir string
	dry bool
	out io.Writer
	try func(context.Context, *stage) error // the consumer
}

// try plays a consumer of the release.
func try(ctx context.Context, s *stage) error {
	c, err := newConsumer(ctx, s)
	if err != nil {
		return err
	}
	if err := c.resolve(ctx); err != nil {
		return err
	}
	return c.runREADME(ctx)
}

// consume plays the consumer, with a version that is never released.
func (r *release) consume(ctx context.Context) error {
	return r.staged(ctx, copyFiles, "v0.0.0-consumer", func(s *stage) error {
		began := time.Now()
		if err := s.prepare(ctx); err != nil {
			return err
		}
		if err := r.try(ctx, s); err != nil {
			return err
		}
		_, err := fmt.Fprintf(r.out, "a consumer uses %s: %s\n", modulePaths(s.tree), time.Since(began).Round(time.Second))
		return err
	})
}

// release checks, makes and tries the release in a clone, and then brings its commits and tags into the tree.
func (r *release) release(ctx context.Context, version string) error {
	t, err := readTree(r.dir)
	if err != nil {
		return err
	}
	if err := check(ctx, t, version); err != nil {
		return err
	}
	return r.staged(ctx, clone, version, func(s *stage) error {
		if err := s.date(time.Now()); err != nil {
			return err
		}
		if err := s.prepare(ctx); err != nil {
			return err
		}
		if err := r.try(ctx, s); err != nil {
			return err
		}
		return r.finish(ctx, s)
	})
}

// staged runs a function with a copy of the tree, which it removes.
func (r *release) staged(ctx context.Context, from origin, version string, do func(*stage) error) error {
	tmp, err := os.MkdirTemp("", "socketio-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // it is the temporary directory
	s, err := newStage(ctx, from, r.dir, tmp, version)
	if err != nil {
		return err
	}
	return do(s)
}

// finish moves main to the commits of the stage and brings the tags.
func (r *release) finish(ctx context.Context, s *stage) error {
	tags := s.tags(s.version)
	if r.dry {
		_, err := fmt.Fprintf(r.out, "%s can be released; its tags will be:\n  %s\n", s.version, strings.Join(tags, "\n  "))
		return err
	}
	if _, err := git(ctx, r.dir, "fetch", "--quiet", "--no-tags", s.dir, "main"); err != nil {
		return err
	}
	if _, err := git(ctx, r.dir, "merge", "--quiet", "--ff-only", "FETCH_HEAD"); err != nil {
		return err
	}
	fetch := []string{"fetch", "--quiet", "--no-tags", "--atomic", s.dir}
	for _, tag := range tags {
		fetch = append(fetch, "refs/tags/"+tag+":refs/tags/"+tag)
	}
	if _, err := git(ctx, r.dir, fetch...); err != nil {
		return err
	}
	names := strings.Join(tags, " ")
	_, err := fmt.Fprintf(r.out, "%s is released here. To publish it:\n  git push --atomic %s main %s\n"+
		"If that is refused, this removes the release here:\n  git tag --delete %s\n  git reset --keep %s\n", s.version, remote, names, names, s.base)
	return err
}

func modulePaths(t *tree) string {
	var paths []string
	for _, m := range t.published() {
		paths = append(paths, m.path())
	}
	return strings.Join(paths, ", ")
}
