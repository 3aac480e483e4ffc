package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// newOrigin makes a bare repository that is the origin of a sample, and has its main.
func newOrigin(t *testing.T, dir string) string {
	t.Helper()
	bare := t.TempDir()
	mustGit(t, bare, "init", "--quiet", "--bare", "--initial-branch=main")
	mustGit(t, dir, "remote", "add", remote, bare)
	mustGit(t, dir, "push", "--quiet", remote, "main")
	return bare
}

// TestRelease_PushIsRefused runs the commands that a release prints: the push, which a hook of origin refuses, and those that
// remove the release, after which it can be made again and pushed.
func TestRelease_PushIsRefused(t *testing.T) {
	t.Parallel()
	dir := newSample(t, nil)
	bare := newOrigin(t, dir)
	head := mustGit(t, dir, "rev-parse", "HEAD")
	hook := filepath.Join("hooks", "update")
	write(t, bare, hook, "#!/bin/sh\ncase $1 in refs/tags/*) echo 'tags are protected' >&2; exit 1 ;; esac\n")
	if err := exec.CommandContext(t.Context(), "chmod", "+x", filepath.Join(bare, hook)).Run(); err != nil {
		t.Fatal(err)
	}
	release := func() (push, undo []string) {
		var out strings.Builder
		r := release{dir: dir, out: &out, try: resolve}
		if err := r.release(t.Context(), "v0.1.0"); err != nil {
			t.Fatal(err)
		}
		var commands []string
		for line := range strings.Lines(out.String()) {
			if command, ok := strings.CutPrefix(line, "  "); ok {
				commands = append(commands, strings.TrimSpace(command))
			}
		}
		if len(commands) != 3 {
			t.Fatalf("no 3 commands in\n%s", out.String())
		}
		return commands[:1], commands[1:]
	}
	runAll := func(commands []string) error {
		for _, c := range commands {
			if _, err := git(t.Context(), dir, strings.Fields(c)[1:]...); err != nil {
				return err
			}
		}
		return nil
	}
	push, undo := release()
	if err := runAll(push); err == nil || !strings.Contains(err.Error(), "tags are protected") {
		t.Fatalf("the push: %v", err)
	}
	if mustGit(t, bare, "rev-parse", "main") != head || mustGit(t, bare, "tag") != "" {
		t.Error("a refused push changed origin")
	}
	if err := runAll(undo); err != nil {
		t.Fatal(err)
	}
	if mustGit(t, dir, "rev-parse", "HEAD") != head || mustGit(t, dir, "tag") != "" || mustGit(t, dir, "status", "--porcelain") != "" {
		t.Error("something of the release is left")
	}
	write(t, bare, hook, "")
	push, _ = release()
	if err := runAll(push); err != nil {
		t.Fatal(err)
	}
	if mustGit(t, bare, "rev-parse", "main") != mustGit(t, dir, "rev-parse", "HEAD") || mustGit(t, bare, "tag") != mustGit(t, dir, "tag") {
		t.Error("origin is not what was released")
	}
}

// TestRelease_ComparedWithOrigin refuses a release whose push would be refused, before anything is made.
func TestRelease_ComparedWithOrigin(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, dir, bare string)
		want   string
	}{
		"behind": {func(t *testing.T, dir, _ string) {
			t.Helper()
			mustCommit(t, dir)
			mustGit(t, dir, "push", "--quiet", remote, "main")
			mustGit(t, dir, "reset", "--quiet", "--hard", "HEAD~1")
		}, "main of origin has commits that are not here (1): git pull brings them"},
		"tag of a module": {func(t *testing.T, dir, _ string) {
			t.Helper()
			mustGit(t, dir, "tag", "part/v0.1.0")
			mustGit(t, dir, "push", "--quiet", remote, "part/v0.1.0")
			mustGit(t, dir, "tag", "--delete", "part/v0.1.0")
		}, "the tag part/v0.1.0 exists at origin"},
		"unreachable": {func(t *testing.T, dir, bare string) {
			t.Helper()
			mustGit(t, dir, "remote", "set-url", remote, bare+"/nowhere")
		}, "the repository cannot be compared with origin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newSample(t, nil)
			test.change(t, dir, newOrigin(t, dir))
			tags, head := mustGit(t, dir, "tag"), mustGit(t, dir, "rev-parse", "HEAD")
			err := releaseSample(t, dir, "v0.1.0")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if mustGit(t, dir, "tag") != tags || mustGit(t, dir, "rev-parse", "HEAD") != head {
				t.Error("a refused release changed the repository")
			}
		})
	}
}
