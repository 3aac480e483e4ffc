package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a repository with every kind of module: the root, one that requires it, a command that requires both, and one
// that is not published. None needs a module from elsewhere.
var sample = map[string]string{
	"go.mod":           "module github.com/pgsocket/sample\n\ngo 1.26\n",
	"sample.go":        "package sample\n\nconst Name = \"sample\"\n",
	"LICENSE":          "for all modules\n",
	"README.md":        "# sample\n\nVersion 0.1, soon Version 0.2.\n",
	"CHANGELOG.md":     "# Changelog\n\n## 0.2.0 (unreleased)\n\n- more\n\n## 0.1.0 (unreleased)\n\n- all\n",
	".gitignore":       "ignored\n",
	"part/go.mod":      requiring("part", "sample"),
	"part/part.go":     "package part\n\nimport \"github.com/pgsocket/sample\"\n\nconst Name = sample.Name + \"/part\"\n",
	"cmd/tool/go.mod":  requiring("cmd/tool", "sample", "sample/part"),
	"cmd/tool/main.go": "package main\n\nimport _ \"github.com/pgsocket/sample/part\"\n\nfunc main() { version() }\n",
	"cmd/tool/version.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"runtime/debug\"\n)\n\n" +
		"func version() {\n\tinfo, _ := debug.ReadBuildInfo()\n\tfmt.Println(info.Main.Version)\n}\n",
	"inner/go.mod":   "// not published: it is a test\n" + requiring("inner", "sample", "sample/part"),
	"inner/inner.go": "package inner\n\nimport _ \"github.com/pgsocket/sample/part\"\n",
}

// requiring returns the go.mod of a module that requires others, by their directories.
func requiring(dir string, modules ...string) string {
	text := "module github.com/pgsocket/sample/" + dir + "\n\ngo 1.26\n"
	up := strings.Repeat("../", strings.Count(dir, "/")+1)
	for _, m := range modules {
		indirect := ""
		if dir == "cmd/tool" && m == "sample" || dir == "inner" && m == "sample" {
			indirect = " // indirect"
		}
		text += "\nrequire github.com/pgsocket/" + m + " v0.0.0" + indirect + "\n\nreplace github.com/pgsocket/" + m + " => " + up +
			strings.TrimPrefix(strings.TrimPrefix(m, "sample"), "/") + "\n"
	}
	return text
}

// newSample makes a repository of the sample with the given files changed; "" removes one.
func newSample(t *testing.T, changes map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range sample {
		write(t, dir, name, text)
	}
	for name, text := range changes {
		write(t, dir, name, text)
	}
	mustGit(t, dir, "init", "--quiet", "--initial-branch=main")
	mustGit(t, dir, "config", "user.name", "A. Maintainer")
	mustGit(t, dir, "config", "user.email", "maintainer@example.com")
	mustCommit(t, dir)
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if text == "" {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := git(t.Context(), dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustCommit(t *testing.T, dir string) {
	t.Helper()
	mustGit(t, dir, "add", "--all")
	mustGit(t, dir, "commit", "--quiet", "--allow-empty", "--message", "work")
}

// resolve plays the consumer of the sample, which has no README.
func resolve(ctx context.Context, s *stage) error {
	c, err := newConsumer(ctx, s)
	if err != nil {
		return err
	}
	return c.resolve(ctx)
}

func releaseSample(t *testing.T, dir, version string) error {
	t.Helper()
	r := release{dir: dir, out: io.Discard, try: resolve}
	return r.release(t.Context(), version)
}

// mustBuild builds every module of the repository as a developer does, who has no proxy.
func mustBuild(t *testing.T, dir string) {
	t.Helper()
	for name := range sample {
		if filepath.Base(name) != "go.mod" {
			continue
		}
		at := command{dir: filepath.Join(dir, filepath.Dir(name)), env: []string{"GOPROXY=off", "GOWORK=off", "GOFLAGS=-mod=readonly"}}
		if _, err := at.run(t.Context(), "go", "build", "-o", os.DevNull, "./..."); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := at.run(t.Context(), "go", "mod", "tidy", "-diff"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRelease_TwoReleases makes two releases, one on top of the other. A consumer used the modules of both.
func TestRelease_TwoReleases(t *testing.T) {
	t.Parallel()
	dir := newSample(t, nil)
	mustBuild(t, dir)
	write(t, dir, ".git/info/exclude", "private\n")
	write(t, dir, "private", "a file that git ignores here only\n")
	for _, version := range []string{"v0.1.0", "v0.2.0"} {
		if err := releaseSample(t, dir, version); err != nil {
			t.Fatal(err)
		}
		for _, tag := range []string{version, "part/" + version, "cmd/tool/" + version} {
			if kind := mustGit(t, dir, "cat-file", "-t", tag); kind != "tag" {
				t.Errorf("%s is a %s, want an annotated tag", tag, kind)
			}
			if mustGit(t, dir, "rev-parse", tag+"^{}") != mustGit(t, dir, "rev-parse", version+"^{}") {
				t.Errorf("%s names another commit than %s", tag, version)
			}
		}
		if author := mustGit(t, dir, "log", "-1", "--format=%an", version); author != "A. Maintainer" {
			t.Errorf("the author of the release is %q", author)
		}
		if commits := mustGit(t, dir, "log", "-2", "--format=%s", version); commits != "release "+version+"\nwork" {
			t.Errorf("the last commits of %s are:\n%s", version, commits)
		}
		released := mustGit(t, dir, "show", version+":cmd/tool/go.mod")
		if strings.Contains(released, "replace") || strings.Count(released, " "+version) != 2 {
			t.Errorf("cmd/tool/go.mod of %s:\n%s", version, released)
		}
		if sums := mustGit(t, dir, "show", version+":cmd/tool/go.sum"); strings.Count(sums, version) != 4 || strings.Count(sums, "\n") != 3 {
			t.Errorf("cmd/tool/go.sum of %s:\n%s", version, sums)
		}
		changelog := mustGit(t, dir, "show", version+":CHANGELOG.md")
		if strings.Contains(changelog, "## "+version[1:]+" (unreleased)") {
			t.Errorf("the changelog of %s has no date:\n%s", version, changelog)
		}
		if status := mustGit(t, dir, "status", "--porcelain"); status != "" {
			t.Errorf("after the release of %s:\n%s", version, status)
		}
		mustBuild(t, dir)
		write(t, dir, "sample.go", "package sample\n\nconst Name = \"after "+version+"\"\n")
		mustCommit(t, dir)
	}
	if err := releaseSample(t, dir, "v0.1.1"); err == nil || !strings.Contains(err.Error(), "v0.1.1 is older than v0.2.0, which is released") {
		t.Errorf("a version before the last: %v", err)
	}
}

// TestRelease_DryRun goes as far as the consumer and changes nothing.
func TestRelease_DryRun(t *testing.T) {
	t.Parallel()
	dir := newSample(t, nil)
	before := mustGit(t, dir, "rev-parse", "HEAD")
	var out strings.Builder
	tried := false
	r := release{dir: dir, dry: true, out: &out, try: func(context.Context, *stage) error { tried = true; return nil }}
	if err := r.release(t.Context(), "v0.1.0"); err != nil {
		t.Fatal(err)
	}
	if !tried {
		t.Error("no consumer was played")
	}
	if want := "v0.1.0 can be released; its tags will be:\n  v0.1.0\n  part/v0.1.0\n  cmd/tool/v0.1.0\n"; out.String() != want {
		t.Errorf("it printed %q, want %q", out.String(), want)
	}
	if mustGit(t, dir, "rev-parse", "HEAD") != before || mustGit(t, dir, "tag") != "" || mustGit(t, dir, "status", "--porcelain") != "" {
		t.Error("a dry run changed the repository")
	}
}

// TestRelease_Refusals changes one thing that is not ready. Nothing is released, and the sentence says what is wrong.
func TestRelease_Refusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		version string
		files   map[string]string
		git     []string
		dirty   bool
		want    string
	}{
		"no version":       {version: "0.1.0", want: `"0.1.0" is not a version like v1.2.3 or v1.2.3-rc.1`},
		"short version":    {version: "v0.1", want: `"v0.1" is not a version like`},
		"major version":    {version: "v2.0.0", want: "v2.0.0 is not a version of github.com/pgsocket/sample: from v2 on"},
		"branch":           {git: []string{"switch", "--quiet", "--create", "other"}, want: "releases are made on main, and this is other"},
		"tag":              {git: []string{"tag", "v0.1.0"}, want: "the tag v0.1.0 exists"},
		"tag of a part":    {git: []string{"tag", "part/v0.1.0"}, want: "the tag part/v0.1.0 exists"},
		"older":            {git: []string{"tag", "v0.3.0"}, want: "v0.1.0 is older than v0.3.0, which is released"},
		"changes":          {dirty: true, want: "there are changes that are not committed:\n?? new.go"},
		"changelog":        {version: "v0.1.1", want: `CHANGELOG.md has no section "## 0.1.1"`},
		"README":           {version: "v0.3.0", files: map[string]string{"CHANGELOG.md": "## 0.3.0\n"}, want: `README.md does not say "Version 0.3"`},
		"schema":           {files: map[string]string{"migrations/testdata/released/1.sql": "select 1\n"}, want: "the schema 1.sql is not recorded as released"},
		"not tidy":         {files: map[string]string{"part/go.mod": requiring("part", "sample", "sample/part2"), "part2/go.mod": requiring("part2"), "part2/part.go": "package part2\n"}, want: "github.com/pgsocket/sample/part is not tidy"},
		"not published":    {files: map[string]string{"go.mod": "// not published: a mistake\n" + sample["go.mod"]}, want: "is published and requires github.com/pgsocket/sample, which is not"},
		"foreign replace":  {files: map[string]string{"part/go.mod": sample["part/go.mod"] + "\nreplace example.com/a => ../a\n"}, want: "part is published and replaces example.com/a"},
		"circle":           {files: map[string]string{"go.mod": sample["go.mod"] + "\nrequire github.com/pgsocket/sample/part v0.0.0\n"}, want: "require each other in a circle"},
		"missing version":  {files: map[string]string{"part/go.mod": sample["part/go.mod"] + "\nrequire github.com/pgsocket/sample/none v0.0.0-1\n"}, want: "part is not tidy"},
		"no module at all": {files: map[string]string{"go.mod": ""}, want: "has no go.mod"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newSample(t, test.files)
			if test.git != nil {
				mustGit(t, dir, test.git...)
			}
			if test.dirty {
				write(t, dir, "new.go", "package sample\n")
			}
			tags, head := mustGit(t, dir, "tag"), mustGit(t, dir, "rev-parse", "HEAD")
			version := test.version
			if version == "" {
				version = "v0.1.0"
			}
			err := releaseSample(t, dir, version)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if mustGit(t, dir, "tag") != tags || mustGit(t, dir, "rev-parse", "HEAD") != head {
				t.Error("a refused release changed the repository")
			}
		})
	}
}

// TestRelease_ConsumerFails leaves the repository as it was.
func TestRelease_ConsumerFails(t *testing.T) {
	t.Parallel()
	dir := newSample(t, nil)
	head := mustGit(t, dir, "rev-parse", "HEAD")
	broken := errors.New("it does not build")
	r := release{dir: dir, out: io.Discard, try: func(context.Context, *stage) error { return broken }}
	if err := r.release(t.Context(), "v0.1.0"); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if mustGit(t, dir, "rev-parse", "HEAD") != head || mustGit(t, dir, "tag") != "" {
		t.Error("a failed release changed the repository")
	}
}

// TestConsumer_Failures plants what works in the tree and not at a consumer.
func TestConsumer_Failures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string // of the tree
		dir   string            // of the module whose released go.mod is changed
		plant func(goMod string) string
		want  string
	}{
		"a version that does not exist": {
			dir:   "part",
			plant: func(goMod string) string { return strings.Replace(goMod, "sample v0.1.0", "sample v0.0.7", 1) },
			want:  "github.com/pgsocket/sample@v0.0.7",
		},
		"a replace directive that stays": {
			dir:   "cmd/tool",
			plant: func(goMod string) string { return goMod + "\nreplace github.com/pgsocket/sample => ../..\n" },
			want:  "must not contain directives that would cause",
		},
		"a package that git ignores": {
			files: map[string]string{"part/part.go": strings.Replace(sample["part/part.go"], "import", "import _ \"github.com/pgsocket/sample/ignored\"\n\nimport", 1)},
			want:  "github.com/pgsocket/sample/ignored",
		},
		"a command that does not know its version": {
			files: map[string]string{"cmd/tool/version.go": "package main\n\nfunc version() { print(\"unknown\") }\n"},
			want:  "tool version does not print v0.1.0",
		},
		"nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newSample(t, test.files)
			write(t, dir, "ignored/ignored.go", "package ignored\n")
			mustBuild(t, dir)
			s, err := newStage(t.Context(), copyFiles, dir, t.TempDir(), "v0.1.0")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			if test.plant != nil {
				republish(t, s, test.dir, test.plant)
			}
			err = resolve(t.Context(), s)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// republish changes the go.mod of a module that is in the proxy.
func republish(t *testing.T, s *stage, dir string, change func(string) string) {
	t.Helper()
	name := filepath.Join(s.dir, dir, "go.mod")
	goMod, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, filepath.Join(dir, "go.mod"), change(string(goMod)))
	mustCommit(t, s.dir)
	for _, m := range s.modules {
		if m.dir != dir {
			continue
		}
		mustGit(t, s.dir, "tag", "--force", m.tag(s.version))
		for _, cached := range []string{filepath.Join("cache", "vcs"), filepath.Join("cache", "download", m.path()), m.path() + "@" + s.version} {
			if err := os.RemoveAll(filepath.Join(s.cache(), cached)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.download(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}
