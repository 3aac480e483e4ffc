package socketio_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestDocs_APITable checks docs/protocol.md: the names in it exist, each row names a test
// or states that there is none, and the tests exist.
func TestDocs_APITable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## The official server's API\n")
	if !ok {
		t.Fatal("the table is gone")
	}
	exported, tests := declared(t), testNames(t)
	code := regexp.MustCompile("`([^`]+)`")
	name := regexp.MustCompile(`^((msgpack|clientbundle|transport)\.)?[A-Z]\w*(\.[A-Z]\w*)?$`)
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| official") {
			continue
		}
		if len(cells) != 3 {
			t.Errorf("not a row: %s", line)
			continue
		}
		rows++
		for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
			if name.MatchString(m[1]) && !exported[m[1]] {
				t.Errorf("%s: there is no %s", cells[0], m[1])
			}
		}
		named := code.FindAllStringSubmatch(cells[2], -1)
		if none := strings.HasPrefix(strings.TrimSpace(cells[1]), "none:"); none != (len(named) == 0) {
			t.Errorf("%s: a row must have tests, or state why it has none", cells[0])
		}
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", cells[0], m[1])
			}
		}
	}
	if rows < 80 {
		t.Errorf("only %d rows were parsed", rows)
	}
}

// declared returns the exported names of the root package, and of those that the
// table mentions with the package's name before them.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for dir, prefix := range map[string]string{".": "", "msgpack": "msgpack.", "clientbundle": "clientbundle.", "transport": "transport."} {
		embeds := make(map[string][]string)
		files, err := fs.Glob(os.DirFS(dir), "*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				declare(d, prefix, names, embeds)
			}
		}
		promote(names, prefix, embeds)
	}
	return names
}

func declare(d ast.Decl, prefix string, names map[string]bool, embeds map[string][]string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		owner := ""
		if d.Recv != nil {
			owner = typeName(d.Recv.List[0].Type) + "."
		}
		names[prefix+owner+d.Name.Name] = true
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					names[prefix+n.Name] = true
				}
			case *ast.TypeSpec:
				names[prefix+spec.Name.Name] = true
				s, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range s.Fields.List {
					for _, n := range f.Names {
						names[prefix+spec.Name.Name+"."+n.Name] = true
					}
					if len(f.Names) == 0 {
						embeds[spec.Name.Name] = append(embeds[spec.Name.Name], typeName(f.Type))
					}
				}
			}
		}
	}
}

// promote gives types the members of what they embed.
func promote(names map[string]bool, prefix string, embeds map[string][]string) {
	for range 3 { // the maximum depth here
		for outer, inner := range embeds {
			for name := range names {
				for _, i := range inner {
					if member, ok := strings.CutPrefix(name, prefix+i+"."); ok {
						names[prefix+outer+"."+member] = true
					}
				}
			}
		}
	}
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// testNames returns the tests of all modules.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Example|Fuzz)\w+)\(`)
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || file != "." && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range declaration.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
