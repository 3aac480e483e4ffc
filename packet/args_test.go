package packet

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestSplitArgs_Verbatim(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`[]`:                                  ``,
		` [ ] `:                               ``,
		`["a"]`:                               `"a"`,
		"[ \"a\" ,\n1\t, { \"x\" : [1,2] } ]": `"a"|1|{ "x" : [1,2] }`,
		`["a,b]\"",[",",["]"]],null]`:         `"a,b]\""|[",",["]"]]|null`,
		`["\\",1]`:                            `"\\"|1`,
	} {
		args, err := SplitArgs([]byte(data), nil)
		if err != nil {
			t.Errorf("%s: %v", data, err)
		}
		if got := join(args); got != want {
			t.Errorf("%s: %s, want %s", data, got, want)
		}
	}
}

func join(args []json.RawMessage) string {
	var texts []string
	for _, a := range args {
		texts = append(texts, string(a))
	}
	return strings.Join(texts, "|")
}

func TestSplitArgs_NotAnArray(t *testing.T) {
	t.Parallel()
	for _, data := range []string{``, ` `, `[`, `]`, `{}`, `"a"`, `1`, `[,]`, `[1,]`, `[,1]`, `["a" `} {
		before := []json.RawMessage{json.RawMessage("kept")}
		args, err := SplitArgs([]byte(data), before)
		if !errors.Is(err, ErrJSON) {
			t.Errorf("%s: error %v", data, err)
		}
		if join(args) != "kept" {
			t.Errorf("%s: %s", data, join(args))
		}
	}
}

func TestSplitArgs_ResultsCanBeAppendedTo(t *testing.T) {
	t.Parallel()
	data := []byte(`["a",1,2]`)
	args, err := SplitArgs(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(args[1], "99"...)
	if string(data) != `["a",1,2]` {
		t.Errorf("the data became %s", data)
	}
}

func TestEventName(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"a b"`:                    `a b`,
		`""`:                       ``,
		`"\u0061\n\"\ud83d\ude00"`: "a\n\"😀",
		`12`:                       `12`,
		`-1.5`:                     `-1.5`,
	} {
		name, err := EventName(json.RawMessage(raw))
		if err != nil || name != want {
			t.Errorf("%s: %q, %v", raw, name, err)
		}
	}
	for raw, want := range map[string]error{
		``: ErrBody, `null`: ErrBody, `{}`: ErrBody, `["a"]`: ErrBody, `"`: ErrJSON, `"\x"`: ErrJSON, `"a`: ErrJSON,
	} {
		if _, err := EventName(json.RawMessage(raw)); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", raw, err, want)
		}
	}
}
