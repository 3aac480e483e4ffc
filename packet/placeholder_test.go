package packet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestDecoder_PlaceholderMismatch(t *testing.T) {
	t.Parallel()
	place := func(n int) string { return string(AppendPlaceholder(nil, n)) }
	for name, text := range map[string]string{
		"repeated":                      `51-["a",` + place(0) + `,` + place(0) + `]`,
		"repeated at another depth":     `52-["a",` + place(0) + `,[{"x":` + place(1) + `},` + place(1) + `]]`,
		"repeated, written otherwise":   `51-["a",` + place(0) + `,{ "num":0, "\u005fplaceholder":true}]`,
		"repeated in an acknowledgment": `61-1[` + place(0) + `,` + place(0) + `]`,
		"out of range":                  `51-["a",` + place(1) + `]`,
		"missing":                       `51-["a"]`,
		"one missing":                   `52-["a",` + place(1) + `]`,
		"missing, in a string":          `51-["a","{\"_placeholder\":true,\"num\":0}"]`,
		"not exactly one":               `51-["a",` + place(0) + `,{"_placeholder":true}]`,
	} {
		if p, err := decode(Limits{}, text, [][]byte{{1}, {2}}); !errors.Is(err, ErrPlaceholder) {
			t.Errorf("%s: %v, error %v", name, p, err)
		}
	}
	for _, text := range []string{
		`51-["a",` + place(0) + `]`,
		`52-["a",` + place(1) + `,{"x":[` + place(0) + `]}]`,
		`51-["a",` + place(0) + `,"{\"_placeholder\":true,\"num\":0}",{"_placeholder":false,"num":0},"_placeholder"]`,
		`2["a",` + place(0) + `,` + place(0) + `,` + place(7) + `]`, // data, without attachments
	} {
		if _, err := decode(Limits{}, text, [][]byte{{1}, {2}}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCheckPlaceholders(t *testing.T) {
	t.Parallel()
	foreign := `{"_placeholder":true,"num":7}`
	if err := CheckPlaceholders([]byte(`["a",`+foreign+`]`), 0); err != nil {
		t.Errorf("without attachments: %v", err)
	}
	if err := CheckPlaceholders([]byte(`["a",`+foreign+`]`), 8); !errors.Is(err, ErrPlaceholder) {
		t.Errorf("seven attachments without a placeholder: %v", err)
	}
	err := CheckPlaceholders([]byte(`["a",{"_placeholder":true,"num":0},`+foreign+`]`), 1)
	if !errors.Is(err, ErrPlaceholder) || !strings.Contains(err.Error(), "number 7 of 1") {
		t.Errorf("beside an attachment: %v", err)
	}
}

func TestDecoder_TooManyArguments(t *testing.T) {
	t.Parallel()
	array := func(n int) string { return `["a"` + strings.Repeat(",0", n-1) + `]` }
	limits := Limits{MaxArguments: 100}
	for text, refused := range map[string]bool{
		`2` + array(100):                     false,
		`2` + array(101):                     true,
		`31` + array(101):                    true,
		`2["a",` + array(101) + `]`:          false, // one argument
		`2["a","` + strings.Repeat(",", 300): false,
	} {
		_, err := decode(limits, text, nil)
		if errors.Is(err, ErrLimit) != refused {
			t.Errorf("%.20s: %v", text, err)
		}
	}
	if _, err := decode(Limits{}, `2`+array(1<<16+1), nil); !errors.Is(err, ErrLimit) {
		t.Errorf("the default: %v", err)
	}
	if p, err := decode(Limits{}, `2`+array(1<<16), nil); err != nil || len(fmt.Sprint(p)) == 0 {
		t.Errorf("as many as the default: %v", err)
	}
}

func TestAppendRenumbered(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`["a",{"_placeholder":true,"num":0},[{"num":1,"_placeholder":true}]]`: `x["a",{"_placeholder":true,"num":3},[{"_placeholder":true,"num":4}]]`,
		`["{\"_placeholder\":true,\"num\":0}", {"num":0} ]`:                   `x["{\"_placeholder\":true,\"num\":0}", {"num":0} ]`,
	} {
		if got := string(AppendRenumbered([]byte("x"), []byte(text), 2, 3)); got != want {
			t.Errorf("%s: got %s", text, got)
		}
		if got := string(AppendRenumbered([]byte("x"), []byte(text), 2, 0)); got != "x"+text {
			t.Errorf("%s: by zero: %s", text, got)
		}
	}
}

func TestHasPlaceholder(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`["a"]`:                                 false,
		`["{\"_placeholder\":true,\"num\":0}"]`: false,
		`["a",{"_placeholder":false,"num":0}]`:  false,
		`["a",[{"_placeholder":true,"num":7}]]`: true,
		`["a",{"\u005fplaceholder":true}]`:      true,
	} {
		if got := HasPlaceholder([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
