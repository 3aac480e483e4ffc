package eventmap

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A goField is a field of a struct that encoding/json encodes.
type goField struct {
	name       string
	tagged     bool  // the name is from the tag
	index      []int // from the outer struct, through embedded ones
	typ        reflect.Type
	omitEmpty  bool
	omitZero   bool
	quoted     bool // has the option string, and a type to which that applies
	viaPointer bool // a pointer on the way may be nil
}

// An embedded struct is to be searched for fields.
type embedded struct {
	typ        reflect.Type
	index      []int
	viaPointer bool
}

// jsonFields returns the fields of a struct in their order: the rules, and the way through
// embedded structs, are those of typeFields in encoding/json.
func jsonFields(t reflect.Type) []goField {
	search := fieldSearch{visited: make(map[reflect.Type]bool)}
	next := []embedded{{typ: t}}
	var count map[reflect.Type]int
	for len(next) > 0 {
		level := next
		search.next, search.count = nil, make(map[reflect.Type]int)
		for _, s := range level {
			search.add(&s, count[s.typ] > 1)
		}
		next, count = search.next, search.count
	}
	return dominant(search.found)
}

// A fieldSearch is at one depth of embedded structs.
type fieldSearch struct {
	found   []goField
	visited map[reflect.Type]bool
	next    []embedded           // one level deeper
	count   map[reflect.Type]int // of the structs there
}

// add adds the fields of a struct. If it is embedded twice at its depth they conflict.
func (search *fieldSearch) add(s *embedded, twice bool) {
	if search.visited[s.typ] {
		return
	}
	search.visited[s.typ] = true
	for sf := range s.typ.Fields() {
		f, inner, ok := s.field(sf)
		if !ok {
			continue
		}
		if inner != nil {
			if search.count[inner.typ]++; search.count[inner.typ] == 1 {
				search.next = append(search.next, *inner)
			}
			continue
		}
		search.found = append(search.found, f)
		if twice {
			search.found = append(search.found, f)
		}
	}
}

// field returns one field of the struct, or what it embeds; false if it is not encoded.
func (s *embedded) field(sf reflect.StructField) (f goField, inner *embedded, ok bool) {
	target := sf.Type
	if sf.Anonymous && target.Kind() == reflect.Pointer {
		target = target.Elem()
	}
	if !sf.IsExported() && (!sf.Anonymous || target.Kind() != reflect.Struct) {
		return f, nil, false
	}
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return f, nil, false
	}
	name, options, _ := strings.Cut(tag, ",")
	if !validTag(name) {
		name = ""
	}
	index := append(slices.Clone(s.index), sf.Index...)
	base := sf.Type
	if base.Name() == "" && base.Kind() == reflect.Pointer {
		base = base.Elem()
	}
	if name == "" && sf.Anonymous && base.Kind() == reflect.Struct {
		return f, &embedded{base, index, s.viaPointer || sf.Type.Kind() == reflect.Pointer}, true
	}
	has := func(option string) bool { return slices.Contains(strings.Split(options, ","), option) }
	return goField{
		name: cmp.Or(name, sf.Name), tagged: name != "", index: index, typ: sf.Type,
		omitEmpty: has("omitempty"), omitZero: has("omitzero"), quoted: has("string") && isBasic(base.Kind()),
		viaPointer: s.viaPointer,
	}, nil, true
}

// dominant removes the fields that others of the same name hide, and those in conflict.
func dominant(found []goField) []goField {
	byName := map[string][]goField{}
	for _, f := range found {
		byName[f.name] = append(byName[f.name], f)
	}
	var out []goField
	for _, same := range byName {
		rank := func(f goField) int {
			if f.tagged {
				return 2 * len(f.index)
			}
			return 2*len(f.index) + 1
		}
		slices.SortStableFunc(same, func(a, b goField) int { return cmp.Compare(rank(a), rank(b)) })
		if len(same) == 1 || rank(same[0]) != rank(same[1]) {
			out = append(out, same[0])
		}
	}
	slices.SortFunc(out, func(a, b goField) int { return slices.Compare(a.index, b.index) })
	return out
}

// validTag reports whether encoding/json takes the name in a tag.
func validTag(name string) bool {
	for _, c := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return name != ""
}

func isBasic(k reflect.Kind) bool {
	return k == reflect.Bool || k == reflect.String || isInteger(k) || k == reflect.Float32 || k == reflect.Float64
}

func isInteger(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Uintptr }

// optional reports whether the field may be omitted.
func (f *goField) optional() bool {
	return f.viaPointer || f.omitZero || f.omitEmpty && hasEmpty(f.typ)
}

// hasEmpty reports whether omitempty has an effect on a type.
func hasEmpty(t reflect.Type) bool {
	switch k := t.Kind(); k {
	case reflect.Array:
		return t.Len() == 0
	case reflect.Map, reflect.Slice, reflect.Interface, reflect.Pointer:
		return true
	default:
		return isBasic(k)
	}
}

// omitsNil reports whether the field is omitted when it is nil.
func (f *goField) omitsNil() bool {
	switch f.typ.Kind() {
	case reflect.Pointer, reflect.Interface:
		return f.omitEmpty || f.omitZero
	case reflect.Map, reflect.Slice:
		zeroer := reflect.TypeFor[interface{ IsZero() bool }]()
		own := f.typ.Implements(zeroer) || reflect.PointerTo(f.typ).Implements(zeroer) // of nil it may return false
		return f.omitEmpty || f.omitZero && !own
	default:
		return false
	}
}
