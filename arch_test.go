package socketio_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pgsocket/socketio"

// mayImport contains for every package the packages of this module that it may import. The nested modules (cmd/pgsocket, integration, tools) are outside.
var mayImport = map[string][]string{
	".":                        {"packet", "transport", "adapter", "recovery", "stats", "internal/boundary"},
	"internal/boundary":        {},
	"stats":                    {},
	"packet":                   {},
	"transport":                {"transport/frame", "internal/accept", "internal/boundary"},
	"transport/frame":          {},
	"transport/transporttest":  {"transport/frame"},
	"adapter":                  {},
	"adapter/adaptertest":      {"adapter"},
	"recovery":                 {"adapter"},
	"recovery/recoverytest":    {"recovery", "adapter"},
	"migrations":               {"internal/pgaddress"},
	"pgadapter":                {"adapter", "recovery", "stats", "internal/boundary", "internal/pgaddress"},
	"pgtest":                   {"migrations", "internal/pgserver", "internal/pgaddress"},
	"internal/pgserver":        {},
	"internal/pgaddress":       {},
	"internal/pooltest":        {},
	"internal/pgserver/withpg": {"internal/pgserver"},
	"internal/pgserver/matrix": {"internal/pgserver"},
	"clientbundle":             {"internal/accept"},
	"internal/accept":          {},
	"eventmap":                 {".", "packet", "internal/boundary"},
	"examples/chat":            {".", "clientbundle", "eventmap", "pgadapter", "migrations", "internal/pgserver"},
}

// mayLink contains the other modules that a package may import; packages that are not
// listed may import none: a program without Postgres does not link its driver.
var mayLink = map[string][]string{
	"transport":               {"github.com/gobwas/ws"},
	"transport/transporttest": {"github.com/gobwas/ws"},
	"migrations":              {"github.com/golang-migrate/migrate/v4", "github.com/jackc/pgx/v5"},
	"pgadapter":               {"github.com/jackc/pgx/v5"},
	"internal/pgaddress":      {"github.com/jackc/pgx/v5"},
	"internal/pooltest":       {"github.com/jackc/pgx/v5"},
	"pgtest":                  {"github.com/jackc/pgx/v5"},
	"examples/chat":           {"github.com/jackc/pgx/v5"},
}

func TestArchitecture_Imports(t *testing.T) {
	t.Parallel()
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipNested(file)
		}
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") {
			checkImports(t, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func skipNested(dir string) error {
	if dir == "." {
		return nil
	}
	if strings.HasPrefix(path.Base(dir), ".") || path.Base(dir) == "testdata" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func checkImports(t *testing.T, file string) {
	t.Helper()
	pkg := path.Dir(file)
	allowed, planned := mayImport[pkg]
	if !planned {
		t.Errorf("%s: package %q is not in mayImport", file, pkg)
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		rest, ours := strings.CutPrefix(imported, module)
		switch {
		case ours:
			if rest = strings.TrimPrefix(rest, "/"); rest == "" {
				rest = "."
			}
			if !slices.Contains(allowed, rest) {
				t.Errorf("%s: %q must not import %q", file, pkg, rest)
			}
		case strings.Contains(strings.Split(imported, "/")[0], "."):
			if !slices.ContainsFunc(mayLink[pkg], func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }) {
				t.Errorf("%s: %q must not link %q", file, pkg, imported)
			}
		}
	}
}
