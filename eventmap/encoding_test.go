package eventmap

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
)

type (
	byValueJSON   struct{ A int }
	byPointerJSON struct{ A int }
	byValueText   struct{ A int }
	byPointerText struct{ A int }
	textKey       int
	zeroSlice     []int // whose IsZero is false for nil
	ownByte       byte
	tree          []tree
	node          struct {
		Next *node `json:"next"`
		Kids []*node
		Map  map[string]node `json:",omitempty"`
	}
)

func (v byValueJSON) MarshalJSON() ([]byte, error)    { return []byte(`[1]`), nil }
func (v *byPointerJSON) MarshalJSON() ([]byte, error) { return []byte(`[1]`), nil }
func (v byValueText) MarshalText() ([]byte, error)    { return []byte(`text`), nil }
func (v *byPointerText) MarshalText() ([]byte, error) { return []byte(`text`), nil }
func (v textKey) MarshalText() ([]byte, error)        { return []byte(`key`), nil }
func (v zeroSlice) IsZero() bool                      { return len(v) == 1 }
func (v *ownByte) MarshalText() ([]byte, error)       { return []byte(`b`), nil }

type (
	//nolint:staticcheck,unused // tags that encoding/json takes in its own way
	basics struct {
		Bool    bool
		Int     int8
		Uint    uint64 `json:"uint"`
		Float   float32
		Text    string `json:"with space"`
		Dash    int    `json:"-,"`
		Skipped int    `json:"-"`
		Invalid int    `json:"in\"valid"`
		Room    socketio.Room
		hidden  int
	}
	//nolint:modernize // options without effect
	omitted struct {
		Bool    bool            `json:",omitempty"`
		Int     int             `json:",omitempty"`
		Text    string          `json:",omitempty"`
		Pointer *int            `json:",omitempty"`
		Double  **int           `json:",omitempty"`
		Slice   []int           `json:",omitempty"`
		Inner   *[]int          `json:",omitempty"`
		Map     map[string]int  `json:",omitempty"`
		Any     any             `json:",omitempty"`
		Empty   [0]int          `json:",omitempty"`
		Array   [1]int          `json:",omitempty"`
		Struct  struct{ A int } `json:",omitempty"`
		Time    time.Time       `json:",omitempty"`
		TextPtr *byValueText    `json:",omitempty"`
	}
	zeroes struct {
		Struct  struct{ A int } `json:",omitzero"`
		Time    time.Time       `json:",omitzero"`
		Pointer *int            `json:",omitzero"`
		Slice   []int           `json:",omitzero"`
		Own     zeroSlice       `json:",omitzero"`
		Array   [1]int          `json:",omitzero"`
	}
	nullable struct {
		Pointer *int
		Double  **int
		Slice   []int
		Slices  [][]int
		Map     map[int]*string
		Keys    map[textKey]bool
		Bytes   []byte
		Own     []ownByte
		Array   [2]byte
		Arrays  [1]*int
		Struct  *struct{ A []int }
		Tree    tree
		Time    *time.Time
		Text    *byPointerText
		Value   *byValueText
		Any     any
		Raw     json.RawMessage
		Number  json.Number
		Custom  byValueJSON
		Address netip.Addr
		Big     *big.Int
	}
	//nolint:staticcheck // options without effect
	quoted struct {
		Bool    bool          `json:",string"`
		Int     int64         `json:",string"`
		Pointer *uint8        `json:",string"`
		Omitted *int          `json:",string,omitempty"`
		Text    string        `json:",string"`
		Room    socketio.Room `json:",string"`
		Slice   []int         `json:",string"`
		Double  **int         `json:",string"`
		Key     textKey       `json:",string"`
	}
	mixed struct { // how these are encoded depends on whether they are addressable
		JSON  byPointerJSON
		Text  byPointerText
		Slice []byPointerText
		Map   map[string]byPointerJSON
		Bytes []ownByte
		Big   big.Int
	}
	Deep struct {
		A, Deeper int
		Hidden    string `json:"B"`
	}
	Left struct {
		Deep
		Same     int
		Conflict int
		Tagged   int `json:"T"`
	}
	Right struct {
		*Deep
		Conflict int
		T        int
		Only     *int
	}
	unexported struct{ FromUnexported int }
	alsoHidden int //nolint:unused // not encoded
	Flat       string
	Outer      struct{ A int }
	embeds     struct {
		Left
		*Right
		unexported
		alsoHidden //nolint:unused // not encoded
		Flat
		*Outer `json:"named"`
		B      bool
		Same   string
		Named  Deep `json:"deep"`
	}
	embedsTime struct {
		time.Time
		A int
	}
	binary struct {
		Data    socketio.Binary
		List    []socketio.Binary
		Pointer *socketio.Binary
		Omitted socketio.Binary `json:",omitempty"`
		Base64  []byte
	}
)

// TestShape_IsWhatEncodingJSONWrites encodes zero and random values of many types, and compares each with the shape of the
// type: every value fits, and whatever the shape permits, null or an omitted field, occurs.
func TestShape_IsWhatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	for _, zero := range []any{
		basics{},
		omitted{},
		zeroes{},
		nullable{},
		quoted{},
		mixed{},
		embeds{},
		embedsTime{},
		binary{},
		node{},
		tree{},
		map[string][]int{},
		[]*basics{},
		[3][]byte{},
		time.Duration(1),
		socketio.None{},
		struct{ A, b int }{},
		&basics{},
	} {
		typ := reflect.TypeOf(zero)
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			r, err := newReflector(nil)
			if err != nil {
				t.Fatal(err)
			}
			s, err := r.shape(typ)
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			seen := make(map[string]bool)
			for i := range 500 {
				v := reflect.New(typ)
				if i > 0 {
					fill(random, v.Elem(), 4)
				}
				text, err := json.Marshal(v.Elem().Interface())
				if err != nil {
					t.Fatal(err)
				}
				var decoded any
				if err := json.Unmarshal(text, &decoded); err != nil {
					t.Fatal(err)
				}
				if err := fits(s, decoded, "", seen); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
			}
			for _, never := range permitted(s, "", nil) {
				if !seen[never] {
					t.Errorf("it is permitted, but never happens: %s", never)
				}
			}
		})
	}
}

// fill sets a value to something random: half of what may be nil is nil.
func fill(random *rand.Rand, v reflect.Value, depth int) {
	nothing := depth == 0 || random.IntN(2) == 0
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		if !nothing {
			v.Set(reflect.ValueOf(time.Unix(random.Int64N(1e9), 0)))
		}
		return
	case reflect.TypeFor[json.Number](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[big.Int]():
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!nothing)
	case reflect.String:
		if !nothing {
			v.SetString("x")
		}
	case reflect.Float32, reflect.Float64:
		v.SetFloat(random.Float64())
	case reflect.Pointer:
		if !nothing {
			v.Set(reflect.New(v.Type().Elem()))
			fill(random, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if !nothing {
			v.Set(reflect.MakeSlice(v.Type(), random.IntN(3), 3))
			for i := range v.Len() {
				fill(random, v.Index(i), depth-1)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(random, v.Index(i), depth)
		}
	case reflect.Map:
		if !nothing {
			v.Set(reflect.MakeMap(v.Type()))
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(random, value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				fill(random, field, depth)
			}
		}
	case reflect.Interface:
	default:
		if v.CanInt() && !nothing {
			v.SetInt(random.Int64N(100))
		} else if v.CanUint() && !nothing {
			v.SetUint(random.Uint64N(100))
		}
	}
}

var errFit = errors.New("does not fit")

// fits reports whether a decoded value has the shape, and records which nulls and omitted fields there are.
func fits(s *shape, v any, at string, seen map[string]bool) error {
	bad := fmt.Errorf("%w: %s: %v is not %s", errFit, at, v, s.typeScript())
	if s.kind == shapeUnknown {
		return nil
	}
	if v == nil {
		if seen[at+" is null"] = true; !s.null {
			return bad
		}
		return nil
	}
	ok := false
	switch s.kind {
	case shapeBoolean:
		_, ok = v.(bool)
	case shapeNumber, shapeInteger:
		_, ok = v.(float64)
	case shapeText:
		text, isText := v.(string)
		ok = isText
		switch s.format {
		case "byte":
			_, err := base64.StdEncoding.DecodeString(text)
			ok = ok && err == nil
		case "date-time":
			_, err := time.Parse(time.RFC3339, text)
			ok = ok && err == nil
		}
	case shapeBinary:
		m, _ := v.(map[string]any)
		_, ok = m["$binary"].(string)
	case shapeNamed:
		return fits(s.named.body, v, at+"("+s.named.of.String()+")", seen)
	case shapeList:
		list, isList := v.([]any)
		ok = isList && (s.length < 0 || s.length == len(list))
		for _, elem := range list {
			if err := fits(s.elem, elem, at+"[]", seen); err != nil {
				return err
			}
		}
	case shapeRecord:
		record, isRecord := v.(map[string]any)
		ok = isRecord
		for _, elem := range record {
			if err := fits(s.elem, elem, at+"{}", seen); err != nil {
				return err
			}
		}
	case shapeObject:
		object, isObject := v.(map[string]any)
		if !isObject {
			return bad
		}
		return fitsObject(s, object, at, seen)
	default:
	}
	if !ok {
		return bad
	}
	return nil
}

func fitsObject(s *shape, object map[string]any, at string, seen map[string]bool) error {
	for name := range object {
		if !slices.ContainsFunc(s.fields, func(f field) bool { return f.name == name }) {
			return fmt.Errorf("%w: %s.%s is not described", errFit, at, name)
		}
	}
	for _, f := range s.fields {
		value, present := object[f.name]
		inner := at + "." + f.name
		if !present {
			if seen[inner+" is omitted"] = true; !f.optional {
				return fmt.Errorf("%w: %s is missing", errFit, inner)
			}
			continue
		}
		if err := fits(f.shape, value, inner, seen); err != nil {
			return err
		}
	}
	return nil
}

// permitted lists what a shape permits to be null or omitted, as fits records it. It follows a type into itself once.
func permitted(s *shape, at string, within []*definition) []string {
	var all []string
	if s.null {
		all = append(all, at+" is null")
	}
	switch s.kind {
	case shapeNamed:
		if !slices.Contains(within, s.named) {
			all = append(all, permitted(s.named.body, at+"("+s.named.of.String()+")", append(within, s.named))...)
		}
	case shapeList:
		if s.length != 0 {
			all = append(all, permitted(s.elem, at+"[]", within)...)
		}
	case shapeRecord:
		all = append(all, permitted(s.elem, at+"{}", within)...)
	case shapeObject:
		for _, f := range s.fields {
			if f.optional {
				all = append(all, at+"."+f.name+" is omitted")
			}
			all = append(all, permitted(f.shape, at+"."+f.name, within)...)
		}
	default:
	}
	return all
}

// TestShape_FieldsOfEmbeddedStructs compares the order, and what is optional, of the most entangled of the types.
func TestShape_FieldsOfEmbeddedStructs(t *testing.T) {
	t.Parallel()
	r, err := newReflector(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.shape(reflect.TypeFor[embeds]())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range s.named.body.fields {
		name := f.name
		if f.optional {
			name += "?"
		}
		names = append(names, name)
	}
	if got, want := strings.Join(names, " "), "T Only? FromUnexported Flat named B Same deep"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
