package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A consumer is a user of the released modules: it has no replace directive, no workspace, and finds modules through a proxy.
// Its modules are outside the tree.
type consumer struct {
	*stage
	env []string
}

// newConsumer returns a consumer with an empty module cache. It takes the modules of the release from the stage, and others
// from the module cache of this machine or, if they are not there, from where go gets modules here.
func newConsumer(ctx context.Context, s *stage) (*consumer, error) {
	out, err := command{dir: s.tmp}.run(ctx, "go", "env", "GOMODCACHE", "GOPROXY")
	if err != nil {
		return nil, err
	}
	cache, proxies, found := strings.Cut(out, "\n")
	if !found {
		return nil, fmt.Errorf("go env printed %q", out)
	}
	download := filepath.Join("cache", "download")
	return &consumer{stage: s, env: []string{
		"GOWORK=off",
		"GOPROXY=file://" + filepath.Join(s.cache(), download) + ",file://" + filepath.Join(cache, download) + "," + proxies,
		"GOSUMDB=off", // it cannot know the release; the go.sum files of the tree have verified the rest
		"GOFLAGS=-modcacherw -trimpath -buildvcs=false", // with trimpath the build cache is of use in another directory
		"GOMODCACHE=" + filepath.Join(s.tmp, "consumer", "cache"),
		"GOBIN=" + filepath.Join(s.tmp, "consumer", "bin"),
	}}, nil
}

// in returns the consumer's environment in a directory of its own, which it makes.
func (c *consumer) in(name string) (command, error) {
	dir := filepath.Join(c.tmp, "consumer", "modules", name)
	return command{dir: dir, env: c.env}, os.MkdirAll(dir, 0o750)
}

// resolve gets, builds and installs every module of the release, each for itself, and builds what the tags name.
func (c *consumer) resolve(ctx context.Context) error {
	for _, m := range c.published() {
		if err := c.build(ctx, m); err != nil {
			return fmt.Errorf("a consumer of %s: %w", m.path(), err)
		}
		if len(c.siblings(m)) == 0 {
			continue // its checkout is as it was
		}
		if _, err := (command{dir: filepath.Join(c.dir, m.dir), env: c.env}).run(ctx, "go", "build", "-mod=readonly", "./..."); err != nil {
			return fmt.Errorf("a checkout of %s: %w", m.tag(c.version), err)
		}
	}
	commands, err := filepath.Glob(filepath.Join(c.dir, "cmd", "*"))
	if err != nil {
		return err
	}
	for _, dir := range commands {
		if err := c.install(ctx, filepath.Base(dir)); err != nil {
			return err
		}
	}
	return nil
}

// build imports every package of one module that a consumer can import.
func (c *consumer) build(ctx context.Context, m *gomod) error {
	at, err := c.in(path.Base(m.path()))
	if err != nil {
		return err
	}
	if err := c.get(ctx, at, "consumer", m); err != nil {
		return err
	}
	_, err = at.run(ctx, "go", "build", "./...")
	return err
}

// get starts a module that requires modules of the release, with a file of a package that imports all of theirs.
func (c *consumer) get(ctx context.Context, at command, pkg string, modules ...*gomod) error {
	if _, err := at.run(ctx, "go", "mod", "init", "consumer.example/"+filepath.Base(at.dir)); err != nil {
		return err
	}
	get, list := []string{"get"}, []string{"list", "-find", "-f", `{{if ne .Name "main"}}{{.ImportPath}}{{end}}`}
	for _, m := range modules {
		get, list = append(get, m.path()+"@"+c.version), append(list, m.path()+"/...")
	}
	if _, err := at.run(ctx, "go", get...); err != nil {
		return err
	}
	packages, err := at.run(ctx, "go", list...)
	if err != nil {
		return err
	}
	var source strings.Builder
	fmt.Fprintln(&source, "package", pkg)
	for name := range strings.FieldsSeq(packages) {
		if !strings.Contains(name, "/internal/") {
			fmt.Fprintf(&source, "import _ %q\n", name)
		}
	}
	if err := os.WriteFile(filepath.Join(at.dir, "imports.go"), []byte(source.String()), 0o600); err != nil {
		return err
	}
	_, err = at.run(ctx, "go", "mod", "tidy")
	return err
}

// install installs a command by its version, which refuses modules with replace directives, and looks for the version in it.
func (c *consumer) install(ctx context.Context, name string) error {
	at, err := c.in("install")
	if err != nil {
		return err
	}
	if _, err := at.run(ctx, "go", "install", c.root().path()+"/cmd/"+name+"@"+c.version); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(c.bin(name))
	if err != nil {
		return err
	}
	if info.Main.Version != c.version {
		return fmt.Errorf("%s was installed as %s and is %s", name, c.version, info.Main.Version)
	}
	return c.askVersion(ctx, at, name)
}

// askVersion runs the version command of a program that has one.
func (c *consumer) askVersion(ctx context.Context, at command, name string) error {
	if _, err := os.Stat(filepath.Join(c.dir, "cmd", name, "version.go")); err != nil {
		return nil //nolint:nilerr // it has none
	}
	out, err := at.run(ctx, c.bin(name), "version")
	if err != nil {
		return err
	}
	if !strings.Contains(out, c.version) {
		return fmt.Errorf("%s version does not print %s:\n%s", name, c.version, out)
	}
	return nil
}

func (c *consumer) bin(name string) string { return filepath.Join(c.tmp, "consumer", "bin", name) }
