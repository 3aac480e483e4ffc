package eventmap

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// name gives each definition a name, and returns them sorted by it.
func (r *reflector) name(namespaces []namespace) ([]*definition, error) {
	reserved := map[string]bool{"ErrorReply": true, "Binary": true, "ArrayBuffer": true, "Uint8Array": true, "Parameters": true}
	for _, n := range namespaces {
		for _, own := range []string{"ServerToClientEvents", "ClientToServerEvents", "SocketData", "AnswerOf"} {
			reserved[n.prefix+own] = true
		}
		if len(n.histories) > 0 {
			reserved[n.prefix+"RoomHistory"], reserved[n.prefix+"PastEvent"], reserved["Exclude"] = true, true, true
		}
	}
	wanted := make(map[string]int)
	for t := range r.definitions {
		wanted[r.shortName(t)]++
	}
	all := slices.Collect(maps.Values(r.definitions))
	for _, d := range all {
		d.name = r.shortName(d.of)
		if r.types[d.of].name == "" && (wanted[d.name] > 1 || reserved[d.name]) {
			d.name = typePrefix(packageName(d.of.PkgPath())) + d.name
		}
	}
	slices.SortFunc(all, func(a, b *definition) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.of.String(), b.of.String()))
	})
	for i, d := range all {
		switch {
		case reserved[d.name]:
			return nil, fmt.Errorf("%s: the name %s is taken: use Rename", d.of, d.name)
		case i > 0 && all[i-1].name == d.name:
			return nil, fmt.Errorf("%s and %s have the name %s: use Rename", all[i-1].of, d.of, d.name)
		}
	}
	return all, nil
}

// shortName returns the name that the application chose, or the Go name without package.
func (r *reflector) shortName(t reflect.Type) string {
	if name := r.types[t].name; name != "" {
		return name
	}
	name, args, generic := strings.Cut(t.Name(), "[")
	first := []rune(name)
	first[0] = unicode.ToUpper(first[0])
	name = string(first)
	if generic {
		name += typeArguments(args)
	}
	return name
}

// typeName matches a type in the list of type arguments of a generic type, after its
// package.
var typeName = regexp.MustCompile(`\[\]|\*|([\pL\pN_./%~-]*\.)?([\pL\pN_]+)(·\d+)?`)

// typeArguments returns a name for type arguments: Post, ListPost, MapStringInt.
func typeArguments(args string) string {
	var b strings.Builder
	for _, m := range typeName.FindAllStringSubmatch(args, -1) {
		switch m[0] {
		case "[]":
			b.WriteString("List")
		case "*":
			b.WriteString("Optional")
		default:
			b.WriteString(pascal(m[2]))
		}
	}
	return b.String()
}

// typePrefix returns a text in PascalCase, with which the name of a type can begin.
func typePrefix(text string) string {
	prefix := pascal(text)
	if prefix != "" && !isIdentifier(prefix) {
		return "N" + prefix // begins with a digit
	}
	return prefix
}

// packageName returns the last part of an import path that is not a version.
func packageName(importPath string) string {
	base := path.Base(importPath)
	if dir := path.Dir(importPath); dir != "." && regexp.MustCompile(`^v\d+$`).MatchString(base) {
		base = path.Base(dir)
	}
	return base
}

// isKeyword reports whether TypeScript does not take the text as the name of a type: it is
// a reserved word or the name of a predefined type.
func isKeyword(text string) bool {
	const predefined = "any bigint boolean never number object string symbol undefined unknown"
	return slices.Contains(strings.Fields(predefined), text) || text != "callback" && slices.Contains(noParameter, text)
}
