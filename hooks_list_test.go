package socketio_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// notHooks are the exported fields and parameters with functions and values that are no
// hooks, with the reason.
var notHooks = map[string]string{
	"adapter.Audience.ExcludesFunc":   "for adapters; called by the caller",
	"transport.Drainer":               "implemented by the server; see package transport",
	"transport.Lingerer":              "implemented by the server; see package transport",
	"transport.Meter":                 "implemented by the server; called as Receiver.Message is",
	"transport.Options.ClientAddress": "is socketio.Options.ClientAddress",
	"socketio.Registrar":              "implemented here",
	"socketio.Target":                 "implemented here",
	"socketio.Callee":                 "implemented here",
	"socketio.ServerTarget":           "implemented here",
	"socketio.DataSource":             "implemented here",
	"socketio.Publisher":              "implemented by adapters",
	"socketio.Data":                   "encoded and decoded by the caller, in its goroutine: see TestData",
	"socketio.Presence":               "encoded and decoded by the caller, in its goroutine",
	"socketio.PresenceEvent":          "is data",
	"socketio.Member":                 "a result",
	"socketio.Reply":                  "a result",
	"socketio.NodeReply":              "a result",
	"socketio.Options.Adapter":        "implemented by adapters, see package adaptertest",
	"socketio.Recovery.Store":         "implemented by adapters, see package recoverytest",
	"socketio.NewEmitter":             "takes an adapter",
	"adapter.Adapter":                 "implemented by adapters",
	"adapter.SnapshotResolver":        "implemented by adapters",
	"adapter.Local":                   "implemented by the server",
	"adapter.Envelope.LocalOnly":      "set by the server",
	"adapter.Outcome.Withdraw":        "for adapters",
	"adapter.Outcome.OnAwaited":       "for adapters",
	"adapter.Audience.IncludesFunc":   "for adapters; called by the caller",
	"recovery.Store":                  "implemented by adapters",
	"recovery.Retainer":               "implemented by adapters",
	"recovery.PresenceStore":          "implemented by adapters",
	"recovery.Node":                   "implemented by the server",
	"recovery.ContinuityCheck.Check":  "for adapters; called by the caller",
	"transport.Receiver":              "implemented by the server; see package transport",
	"transport.NewServer":             "accept is the server's; see package transport",
	"transport.Options.AllowRequest":  "is socketio.Options.AllowRequest",
	"transport.Options.Logger":        "is socketio.Options.Logger",
	"pgadapter.Options.Logger":        "is kept behind a boundary.Log, see its tests",
	"pgadapter.EmitterOptions.Logger": "is kept behind a boundary.Log, see its tests",
	"pgadapter.Tx":                    "called by the caller, in its goroutine",
	"socketio.Change":                 "is data",
	"socketio.Handshake.DecodeAuth":   "decodes in the goroutine of the caller",

	"socketio.Emitter.WithTracer":          "is called as Options.Tracer is",
	"pgadapter.EmitOptions.TraceContext":   "is called before the statement, and may fail, see TestEmitTx_TraceContextFails in pgadapter",
	"pgadapter.Options.TraceAppend":        "is called by a goroutine of its own, see TestTraceAppend_Blocks in pgadapter",
	"pgadapter.EmitterOptions.TraceAppend": "is pgadapter.Options.TraceAppend",
}

// TestHooks_List finds every exported place where the application gives code to the
// server: fields, parameters and interfaces. Each is in the table of TestHooks, or in
// notHooks with a reason.
func TestHooks_List(t *testing.T) {
	t.Parallel()
	found := make(map[string]bool)
	for _, dir := range []string{".", "adapter", "recovery", "transport", "packet", "pgadapter", "stats"} {
		for _, file := range sources(t, dir) {
			for _, d := range file.Decls {
				listDecl(file.Name.Name, d, found)
			}
		}
	}
	known := maps.Clone(notHooks)
	for _, h := range hooks() {
		for name := range strings.FieldsSeq(h.name) {
			known[name] = "tested"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if known[name] == "" {
			t.Errorf("%s takes code of the application, and is neither in hooks nor in notHooks", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !found[name] {
			t.Errorf("%s is listed, and was not found", name)
		}
	}
}

func sources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func listDecl(pkg string, d ast.Decl, found map[string]bool) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := pkg + "."
		if d.Recv != nil {
			name += receiverName(d.Recv.List[0].Type) + "."
		}
		receiver := d.Recv == nil || ast.IsExported(receiverName(d.Recv.List[0].Type)) || receiverName(d.Recv.List[0].Type) == "registry"
		if receiver && d.Name.IsExported() && slices.ContainsFunc(d.Type.Params.List, func(p *ast.Field) bool { return takesCode(p.Type) }) {
			found[name+d.Name.Name] = true
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if spec, ok := spec.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				listType(pkg+"."+spec.Name.Name, spec, found)
			}
		}
	}
}

func listType(name string, spec *ast.TypeSpec, found map[string]bool) {
	if spec.TypeParams != nil {
		found[name] = true // values of the application's types
	}
	switch u := spec.Type.(type) {
	case *ast.InterfaceType:
		found[name] = true
	case *ast.StructType:
		for _, f := range u.Fields.List {
			for _, id := range f.Names {
				if id.IsExported() && takesCode(f.Type) {
					found[name+"."+id.Name] = true
				}
			}
		}
	}
}

// takesCode reports whether a value of the type, as the source names it, is or may
// contain code.
func takesCode(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.FuncType:
		return true
	case *ast.Ellipsis:
		return takesCode(e.Elt)
	case *ast.StarExpr:
		return takesCode(e.X)
	case *ast.SelectorExpr:
		return slices.Contains([]string{"Logger", "Parser", "Adapter", "Store"}, e.Sel.Name)
	case *ast.Ident:
		return slices.Contains([]string{"any", "Handler", "Interceptor", "Publisher", "Tracer", "TraceAppend"}, e.Name)
	case *ast.IndexExpr:
		return takesCode(e.X)
	}
	return false
}

func receiverName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiverName(e.X)
	case *ast.IndexExpr:
		return receiverName(e.X)
	case *ast.IndexListExpr:
		return receiverName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}
