package socketio_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDocs_LogKeys checks that the table of docs/deployment.md lists the keys of all log lines, and no others.
func TestDocs_LogKeys(t *testing.T) {
	t.Parallel()
	used := make(map[string]string)
	for _, f := range loggingFiles(t) {
		maps.Copy(used, logKeys(t, f.fset, f.file))
	}
	documented := documentedKeys(t)
	for key, at := range used {
		if !documented[key] {
			t.Errorf("%s: the key %q is not in docs/deployment.md, %q", at, key, logKeysHeading)
		}
	}
	for key := range documented {
		if used[key] == "" {
			t.Errorf("docs/deployment.md: no log line has the key %q", key)
		}
	}
	if len(used) < 30 {
		t.Errorf("only %d keys were found: %v", len(used), slices.Sorted(maps.Keys(used)))
	}
}

// TestDocs_LogKeys_Violations checks that the test above finds what it looks for.
func TestDocs_LogKeys_Violations(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`slog.String("kind", "x")`:                       "kind",
		`l.Info("text", slog.Any("error", err))`:         "error",
		`slog.Duration("took", d)`:                       "x.go:3:7: slog.Duration prints nanoseconds in JSON: log d.String()",
		`slog.Any("took", time.Since(began))`:            "x.go:3:7: a duration is logged as a string",
		`slog.Int64("took", time.Second.Milliseconds())`: "x.go:3:7: a duration is logged as a string",
		`slog.String("took", time.Since(a).String())`:    "took",
		`slog.String(key, "x")`:                          "x.go:3:7: the key is not a literal",
		`slog.Attr{Key: "x"}`:                            "x.go:3:7: an slog.Attr that slog's functions have not made",
		`slog.Group("g", slog.Int("n", 1))`:              "g, n",
		`[]slog.Attr{slog.Bool("on", true)}`:             "on",
		`slog.New(h).With("k", 1)`:                       "",
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package x\n\nvar _="+source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for key := range keysOf(f, func(at token.Pos, text string) { found = append(found, fset.Position(at).String()+": "+text) }) {
			found = append(found, key)
		}
		slices.Sort(found)
		if got := strings.Join(found, ", "); got != want {
			t.Errorf("%s: found %q, want %q", source, got, want)
		}
	}
}

type loggingFile struct {
	fset *token.FileSet
	file *ast.File
}

// loggingFiles parses the files of all packages that applications use, those of nested modules included.
func loggingFiles(t *testing.T) (files []loggingFile) {
	t.Helper()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch base := path.Base(name); {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains([]string{"integration", "examples", "tools"}, name) || slices.Contains([]string{"testdata", "node_modules"}, base) || len(base) > 1 && base[0] == '.'):
			return fs.SkipDir
		case !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go"):
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		files = append(files, loggingFile{fset, f})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// logKeys returns the keys of the log lines of a file, each with a place where it is used.
func logKeys(t *testing.T, fset *token.FileSet, f *ast.File) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for key, at := range keysOf(f, func(at token.Pos, text string) { t.Errorf("%s: %s", fset.Position(at), text) }) {
		found[key] = fset.Position(at).String()
	}
	return found
}

// attrFunctions are the functions of slog that make an attribute.
var attrFunctions = []string{"Any", "Bool", "Duration", "Float64", "Group", "GroupAttrs", "Int", "Int64", "String", "Time", "Uint64"}

// keysOf returns the keys of the attributes that a file makes, and reports those that break a rule.
func keysOf(f *ast.File, report func(token.Pos, string)) map[string]token.Pos {
	keys := make(map[string]token.Pos)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if ofSlog(n.Type) == "Attr" && len(n.Elts) > 0 {
				report(n.Pos(), "an slog.Attr that slog's functions have not made")
			}
		case *ast.CallExpr:
			name := ofSlog(n.Fun)
			if !slices.Contains(attrFunctions, name) || len(n.Args) == 0 {
				return true
			}
			literal, _ := n.Args[0].(*ast.BasicLit)
			switch {
			case literal == nil:
				report(n.Pos(), "the key is not a literal")
			case name == "Duration":
				report(n.Pos(), "slog.Duration prints nanoseconds in JSON: log d.String()")
			case len(n.Args) == 2 && isDuration(n.Args[1]):
				report(n.Pos(), "a duration is logged as a string")
			default:
				key, _ := strconv.Unquote(literal.Value) // the parser has accepted it
				keys[key] = n.Pos()
			}
		}
		return true
	})
	return keys
}

// ofSlog returns the name of what an expression selects of package slog, or "".
func ofSlog(e ast.Expr) string {
	selected, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if pkg, ok := selected.X.(*ast.Ident); !ok || pkg.Name != "slog" {
		return ""
	}
	return selected.Sel.Name
}

// isDuration reports whether an expression is seen to be a duration, or a number of time units.
func isDuration(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	selected, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{
		"Since", "Until", "Round", "Truncate", "Abs", "Nanoseconds", "Microseconds", "Milliseconds", "Seconds", "Minutes", "Hours",
	}, selected.Sel.Name)
}

const logKeysHeading = "### Log keys"

// documentedKeys returns the keys in the first column of the table, each once.
func documentedKeys(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n"+logKeysHeading+"\n")
	if !found {
		t.Fatalf("docs/deployment.md has no %q", logKeysHeading)
	}
	section, _, _ = strings.Cut(section, "\n##")
	keys := make(map[string]bool)
	name := regexp.MustCompile("`([^`]+)`")
	var last string
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			if last >= m[1] {
				t.Errorf("docs/deployment.md: the key %q is not in alphabetical order, or twice", m[1])
			}
			last = m[1]
			keys[last] = true
		}
	}
	return keys
}
