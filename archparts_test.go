package socketio_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestArchitecture_PartsOfDB: a part of pgadapter.DB gets what it uses as parameters. It does not know the DB, which would
// lead to all other parts, and it knows another part by an interface or a function, which says what it uses of it.
func TestArchitecture_PartsOfDB(t *testing.T) {
	t.Parallel()
	files := parseSources(t, "pgadapter")
	parts := partsOf(files, "DB")
	if want := []string{"tail", "publisher", "node", "relay", "Sessions", "presences", "sweeper", "snapshots"}; !slices.Equal(parts, want) {
		t.Errorf("the parts of DB are %v; want %v", parts, want)
	}
	for _, violation := range dependsOn(files, []string{"DB", "Emitter"}, parts) {
		t.Error(violation)
	}
}

// TestArchitecture_PartsOfDB_Violations checks that the test above finds what it looks for.
func TestArchitecture_PartsOfDB_Violations(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"type DB struct { *tail }\ntype tail struct { n int }":                          "",
		"type DB struct { tail *tail }\nfunc (db *DB) wire() { db.tail = newTail() }":   "",
		"type DB struct { tail *tail }\nfunc Open() *DB { return nil }":                 "",
		"type DB struct { tail *tail }\ntype tail struct { db *DB }":                    "tail has *DB",
		"type DB struct { tail *tail }\ntype tail struct { DB }":                        "tail has DB",
		"type DB struct { tail *tail }\ntype tail struct { log interface { of(*DB) } }": "tail has *DB",
		"type DB struct { tail *tail }\ntype tail struct { get func() *DB }":            "tail has *DB",
		"type DB struct { tail *tail }\nfunc newTail(db *DB) *tail { return nil }":      "newTail has *DB",
		"type DB struct { tail *tail }\nfunc (t *tail) read(db *DB) {}":                 "read has *DB",
		"type DB struct { a *a; b *b }\ntype a struct { others map[int]*b }":            "a has *b",
		"type DB struct { a *a; b *b }\ntype a struct { self *a }":                      "",
		"type DB struct { a *a }\nfunc use(db *sql.DB, a sql.DB) {}":                    "",
		"type DB struct { a *a; b *b }\nfunc (x *a) use(y *b) {}":                       "use has *b",
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files := []*ast.File{f}
		if got := strings.Join(dependsOn(files, []string{"DB"}, partsOf(files, "DB")), "; "); got != want {
			t.Errorf("%s\nfound %q, want %q", source, got, want)
		}
	}
}

func parseSources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// partsOf returns the types to which the fields of a struct point.
func partsOf(files []*ast.File, whole string) []string {
	var parts []string
	for _, f := range files {
		for _, d := range f.Decls {
			name, fields := structOf(d)
			if name != whole {
				continue
			}
			for _, field := range fields {
				if star, ok := field.Type.(*ast.StarExpr); ok {
					if id, ok := star.X.(*ast.Ident); ok {
						parts = append(parts, id.Name)
					}
				}
			}
		}
	}
	return parts
}

// dependsOn returns the structs and functions whose fields or parameters have the type of a whole, or of a part that is
// not their own, in the files of a package. The wholes and their methods may have any.
func dependsOn(files []*ast.File, wholes, parts []string) []string {
	var found []string
	report := func(user, own string, fields []*ast.Field) {
		for _, field := range fields {
			ast.Inspect(field.Type, func(n ast.Node) bool {
				if _, other := n.(*ast.SelectorExpr); other { // a type of another package, such as sql.DB
					return false
				}
				star, _ := n.(*ast.StarExpr)
				id, _ := n.(*ast.Ident)
				prefix := ""
				if star != nil {
					id, _ = star.X.(*ast.Ident)
					prefix = "*"
				}
				if id != nil && id.Name != own && (slices.Contains(wholes, id.Name) || slices.Contains(parts, id.Name)) {
					found = append(found, user+" has "+prefix+id.Name)
				}
				return id == nil
			})
		}
	}
	for _, f := range files {
		for _, d := range f.Decls {
			if name, fields := structOf(d); !slices.Contains(wholes, name) {
				report(name, name, fields)
			}
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			own := ""
			if fn.Recv != nil {
				if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
					if id, ok := star.X.(*ast.Ident); ok {
						own = id.Name
					}
				}
			}
			if !slices.Contains(wholes, own) {
				report(fn.Name.Name, own, fn.Type.Params.List)
			}
		}
	}
	return found
}

// structOf returns the name and the fields of a declaration of one struct.
func structOf(d ast.Decl) (string, []*ast.Field) {
	decl, ok := d.(*ast.GenDecl)
	if !ok || len(decl.Specs) != 1 {
		return "", nil
	}
	spec, ok := decl.Specs[0].(*ast.TypeSpec)
	if !ok {
		return "", nil
	}
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return "", nil
	}
	return spec.Name.Name, s.Fields.List
}
