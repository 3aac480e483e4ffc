package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// notPublished begins the comment above the module line of a go.mod whose module is not released.
const notPublished = "// not published"

// A gomod is a module of the tree.
type gomod struct {
	dir       string // relative to the tree, with slashes; "." for the root
	file      *modfile.File
	published bool
}

func (m *gomod) path() string { return m.file.Module.Mod.Path }

// tag returns the tag that makes this module's version: that of a nested module begins with its directory.
func (m *gomod) tag(version string) string {
	if m.dir == "." {
		return version
	}
	return m.dir + "/" + version
}

// A tree is the modules of a directory, each before the modules that require it.
type tree struct {
	dir     string
	modules []*gomod
}

// readTree finds the modules below a directory: every go.mod, except in directories that git ignores and those of test data.
func readTree(dir string) (*tree, error) {
	t := &tree{dir: dir}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.Name() != "go.mod":
			return nil
		}
		m, err := readModule(dir, path.Dir(name))
		t.modules = append(t.modules, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(t.modules, func(m *gomod) bool { return m.dir == "." }) {
		return nil, fmt.Errorf("%s has no go.mod", dir)
	}
	if err := t.checkPublished(); err != nil {
		return nil, err
	}
	return t, t.sort()
}

func readModule(root, dir string) (*gomod, error) {
	name := filepath.Join(root, filepath.FromSlash(dir), "go.mod")
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file, err := modfile.Parse(name, data, nil)
	if err != nil {
		return nil, err
	}
	if file.Module == nil {
		return nil, fmt.Errorf("%s has no module line", name)
	}
	internal := slices.ContainsFunc(file.Module.Syntax.Before, func(c modfile.Comment) bool {
		return strings.HasPrefix(c.Token, notPublished)
	})
	return &gomod{dir: dir, file: file, published: !internal}, nil
}

func (t *tree) root() *gomod {
	return t.modules[slices.IndexFunc(t.modules, func(m *gomod) bool { return m.dir == "." })]
}

// find returns the module with a path, or nil.
func (t *tree) find(modulePath string) *gomod {
	i := slices.IndexFunc(t.modules, func(m *gomod) bool { return m.path() == modulePath })
	if i < 0 {
		return nil
	}
	return t.modules[i]
}

// published returns the modules that a release consists of, each after those that it requires.
func (t *tree) published() []*gomod {
	return slices.DeleteFunc(slices.Clone(t.modules), func(m *gomod) bool { return !m.published })
}

// tags returns the tags of a release.
func (t *tree) tags(version string) []string {
	var tags []string
	for _, m := range t.published() {
		tags = append(tags, m.tag(version))
	}
	return tags
}

// siblings returns the modules of the tree that m requires.
func (t *tree) siblings(m *gomod) []*gomod {
	var required []*gomod
	for _, r := range m.file.Require {
		if s := t.find(r.Mod.Path); s != nil {
			required = append(required, s)
		}
	}
	return required
}

// checkPublished refuses what would work here and nowhere else: a published module that requires one that is not, or that
// replaces a module outside the tree.
func (t *tree) checkPublished() error {
	for _, m := range t.published() {
		for _, s := range t.siblings(m) {
			if !s.published {
				return fmt.Errorf("%s is published and requires %s, which is not", m.path(), s.path())
			}
		}
		for _, r := range m.file.Replace {
			if t.find(r.Old.Path) == nil {
				return fmt.Errorf("%s is published and replaces %s, which a consumer's build does not do", m.path(), r.Old.Path)
			}
		}
	}
	return nil
}

// sort puts every module after those that it requires.
func (t *tree) sort() error {
	sorted := make([]*gomod, 0, len(t.modules))
	for len(sorted) < len(t.modules) {
		before := len(sorted)
		for _, m := range t.modules {
			waits := slices.ContainsFunc(t.siblings(m), func(s *gomod) bool { return !slices.Contains(sorted, s) })
			if !waits && !slices.Contains(sorted, m) {
				sorted = append(sorted, m)
			}
		}
		if len(sorted) == before {
			return fmt.Errorf("modules of %s require each other in a circle", t.dir)
		}
	}
	t.modules = sorted
	return nil
}
