package socketio_test

import (
	"go/ast"
	"strings"
	"testing"
)

// withoutHubLock are the functions that use a member's fields and neither hold the hub's lock nor are called under it.
var withoutHubLock = map[string]string{
	"newSocket":             "nobody else has the socket yet",
	"hub.disconnectLocally": "ended does not change once the member is detached",
	"Socket.departure":      "reason does not change once the member is detached",
	"presenceOrder.begin":   "the key changes only in the timeline of the socket, which calls it",
	"presenceOrder.take":    "the key changes only in the timeline of the socket, which calls it",
	"presenceOrder.end":     "the key changes only in the timeline of the socket, which calls it",
}

// TestArchitecture_HubLock checks that the fields of a member are used only under the hub's lock: in methods whose names end in
// Locked, and in functions that take the lock. Methods that end in Locked are called from such functions only.
func TestArchitecture_HubLock(t *testing.T) {
	t.Parallel()
	uses := 0
	for _, file := range sources(t, ".") {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			name := receiverOf(f) + f.Name.Name
			locked := strings.HasSuffix(name, "Locked") || takesLock(f.Body) || withoutHubLock[name] != ""
			for _, use := range memberUses(f) {
				uses++
				if !locked {
					t.Errorf("%s uses %s without the hub's lock", name, use)
				}
			}
		}
	}
	if uses < 100 {
		t.Errorf("only %d uses of members were found", uses)
	}
}

// takesLock reports whether a function locks the mutex of a hub.
func takesLock(body *ast.BlockStmt) (takes bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if lock, ok := call.Fun.(*ast.SelectorExpr); ok && lock.Sel.Name == "Lock" {
				if mu, ok := lock.X.(*ast.SelectorExpr); ok && mu.Sel.Name == "mu" {
					switch of := mu.X.(type) {
					case *ast.Ident:
						takes = takes || of.Name == "h"
					case *ast.SelectorExpr:
						takes = takes || of.Sel.Name == "hub"
					case *ast.CallExpr:
						takes = true // s.hub()
					}
				}
			}
		}
		return true
	})
	return takes
}

// receiverOf returns the name of a method's type and a dot, or nothing.
func receiverOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	return receiverName(f.Recv.List[0].Type) + "."
}

// memberUses returns what a function uses of members: of m in their methods, and of the field member elsewhere.
func memberUses(f *ast.FuncDecl) []string {
	method := receiverOf(f) == "member."
	var uses []string
	ast.Inspect(f.Body, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name == "socket" || sel.Sel.Name == "hub" {
			return true
		}
		switch x := sel.X.(type) {
		case *ast.Ident:
			if method && x.Name == "m" {
				uses = append(uses, "m."+sel.Sel.Name)
			}
		case *ast.SelectorExpr:
			if x.Sel.Name == "member" {
				uses = append(uses, "member."+sel.Sel.Name)
			}
		}
		return true
	})
	return uses
}
