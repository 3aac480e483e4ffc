package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
)

// A stage is a clone of the tree in which a release is made and tried, and the module proxy with its versions. What goes
// wrong in it leaves the tree as it was.
type stage struct {
	*tree
	source  string // the tree itself
	tmp     string // contains the clone, the proxy, and the modules of consumers
	version string
	base    string                    // the commit before the release
	sums    map[module.Version]string // of the modules in the proxy, as in a go.sum
}

// An origin makes the repository of a stage in a directory.
type origin func(ctx context.Context, source, dir string) error

// clone makes a repository of what the tree has committed. A release continues its history.
func clone(ctx context.Context, source, dir string) error {
	if _, err := git(ctx, source, "clone", "--quiet", "--shared", source, dir); err != nil {
		return err
	}
	return identify(ctx, source, dir)
}

// copyFiles makes a repository of all files of the tree, also those that are not committed yet, as far as its .gitignore
// does not name them. The tree need not be a repository.
func copyFiles(ctx context.Context, source, dir string) error {
	if _, err := git(ctx, source, "init", "--quiet", dir); err != nil {
		return err
	}
	if err := identify(ctx, source, dir); err != nil {
		return err
	}
	if _, err := git(ctx, source, "--git-dir="+filepath.Join(dir, ".git"), "--work-tree="+source, "add", "--all", "."); err != nil {
		return err
	}
	if _, err := git(ctx, dir, "commit", "--quiet", "--message", "the tree"); err != nil {
		return err
	}
	_, err := git(ctx, dir, "reset", "--quiet", "--hard")
	return err
}

// newStage makes the repository of a stage, and finds its modules.
func newStage(ctx context.Context, from origin, source, tmp, version string) (*stage, error) {
	dir := filepath.Join(tmp, "tree")
	if err := from(ctx, source, dir); err != nil {
		return nil, err
	}
	t, err := readTree(dir)
	if err != nil {
		return nil, err
	}
	base, err := git(ctx, dir, "rev-parse", "HEAD")
	return &stage{tree: t, source: source, tmp: tmp, version: version, base: base, sums: make(map[module.Version]string)}, err
}

// identify makes commits in the clone those of the person who releases. Only the commits of a trial need no name.
func identify(ctx context.Context, source, dir string) error {
	for key, instead := range map[string]string{"user.name": "trial", "user.email": "trial@localhost"} {
		value, err := git(ctx, source, "config", "--default", instead, "--get", key)
		if err != nil {
			return err
		}
		if _, err := git(ctx, dir, "config", key, value); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the two commits of a release and its tags: one whose modules require each other in this version, and one
// after it in which they use each other's directories again.
func (s *stage) prepare(ctx context.Context) error {
	if err := s.publishModules(ctx); err != nil {
		return err
	}
	for _, m := range s.modules {
		if m.published {
			continue
		}
		if err := s.edit(m, directories); err != nil {
			return err
		}
	}
	if err := s.commit(ctx, "release "+s.version); err != nil {
		return err
	}
	for _, tag := range s.tags(s.version) {
		if _, err := git(ctx, s.dir, "tag", "--force", "--annotate", "--message", "release "+tag, tag); err != nil {
			return err
		}
	}
	if err := s.develop(ctx); err != nil {
		return err
	}
	_, err := git(ctx, s.dir, "checkout", "--quiet", "--detach", s.root().tag(s.version))
	return err
}

// publishModules gives each published module its version, and puts it into the proxy. A module comes after those that it
// requires, so that its go.sum can name their content, which does not change any more.
func (s *stage) publishModules(ctx context.Context) error {
	for _, m := range s.published() {
		if err := s.edit(m, versions); err != nil {
			return err
		}
		if err := s.commitAll(ctx, m.tag(s.version)); err != nil {
			return err
		}
		if _, err := git(ctx, s.dir, "tag", "--force", m.tag(s.version)); err != nil {
			return err
		}
		if err := s.download(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// A mode says how a module finds the others of the tree.
type mode int

const (
	versions    mode = iota // by version, as a consumer does
	directories             // by replace directives
)

// edit writes the go.mod and go.sum of a module: it requires this version of its siblings.
func (s *stage) edit(m *gomod, how mode) error {
	dir := filepath.Join(s.dir, m.dir)
	file, err := readModule(s.dir, m.dir)
	if err != nil {
		return err
	}
	for _, sibling := range s.siblings(m) {
		if err := file.file.AddRequire(sibling.path(), s.version); err != nil {
			return err
		}
	}
	sums := filepath.Join(dir, "go.sum")
	if how == directories {
		if err := s.writeSums(m, sums, nil); err != nil {
			return err
		}
	} else {
		for _, r := range slices.Clone(file.file.Replace) {
			if err := file.file.DropReplace(r.Old.Path, r.Old.Version); err != nil {
				return err
			}
		}
		if err := s.writeSums(m, sums, s.sums); err != nil {
			return err
		}
	}
	file.file.Cleanup()
	data, err := file.file.Format()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.mod"), data, 0o644) //nolint:gosec // it is as readable as the other files of the tree
}

// writeSums replaces in a go.sum the lines of the module's siblings. The order is that of the go command.
func (s *stage) writeSums(m *gomod, name string, sums map[module.Version]string) error {
	siblings := s.siblings(m)
	data, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	hashes := make(map[module.Version]string)
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && s.find(fields[0]) == nil {
			hashes[module.Version{Path: fields[0], Version: fields[1]}] = fields[2]
		}
	}
	for of, sum := range sums {
		if slices.Contains(siblings, s.find(of.Path)) {
			hashes[of] = sum
		}
	}
	if len(hashes) == 0 {
		return os.RemoveAll(name)
	}
	keys := slices.Collect(maps.Keys(hashes))
	module.Sort(keys)
	var text strings.Builder
	for _, of := range keys {
		fmt.Fprintln(&text, of.Path, of.Version, hashes[of])
	}
	return os.WriteFile(name, []byte(text.String()), 0o644) //nolint:gosec // as above
}

// commit makes one commit of all that changed since the base.
func (s *stage) commit(ctx context.Context, message string) error {
	if _, err := git(ctx, s.dir, "reset", "--quiet", "--soft", s.base); err != nil {
		return err
	}
	return s.commitAll(ctx, message)
}

func (s *stage) commitAll(ctx context.Context, message string) error {
	if _, err := git(ctx, s.dir, "add", "--all"); err != nil {
		return err
	}
	_, err := git(ctx, s.dir, "commit", "--quiet", "--allow-empty", "--message", message)
	return err
}

// develop makes the commit after the release: the modules require the released versions, and replace them by directories.
func (s *stage) develop(ctx context.Context) error {
	for _, m := range s.published() {
		if len(m.file.Replace) == 0 {
			continue
		}
		if _, err := git(ctx, s.dir, "checkout", "--quiet", s.base, "--", path.Join(m.dir, "go.mod")); err != nil {
			return err
		}
		if err := s.edit(m, directories); err != nil {
			return err
		}
	}
	if changed, err := git(ctx, s.dir, "status", "--porcelain"); err != nil || changed == "" {
		return err
	}
	return s.commitAll(ctx, "development after "+s.version)
}

// date writes the date of the release into the changelog.
func (s *stage) date(now time.Time) error {
	text, err := datedChangelog(s.dir, s.version, now)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "CHANGELOG.md"), []byte(text), 0o644) //nolint:gosec // as above
}

// download has the go command fetch the module from the clone, by its tag, into the directory that serves as the proxy.
// It is what every module proxy runs.
func (s *stage) download(ctx context.Context, m *gomod) error {
	out, err := command{dir: s.tmp, env: []string{
		"GOWORK=off", "GOPROXY=direct", "GOSUMDB=off", "GOFLAGS=-modcacherw", "GOMODCACHE=" + s.cache(),
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url.file://" + s.dir + ".insteadOf", "GIT_CONFIG_VALUE_0=https://" + s.root().path(),
	}}.run(ctx, "go", "mod", "download", "-json", m.path()+"@"+s.version)
	if err != nil {
		return err
	}
	var got struct{ Sum, GoModSum string }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return err
	}
	s.sums[module.Version{Path: m.path(), Version: s.version}] = got.Sum
	s.sums[module.Version{Path: m.path(), Version: s.version + "/go.mod"}] = got.GoModSum
	return nil
}

// cache is a module cache whose download directory is laid out as a module proxy.
func (s *stage) cache() string { return filepath.Join(s.tmp, "proxy") }
