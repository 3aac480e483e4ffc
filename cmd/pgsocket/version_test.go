package main

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/migrations"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	text := output(t, "version")
	for _, want := range []string{"pgsocket ", "library ", "go       " + runtime.Version() + "\n", "schema   works with 1 to 1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var v buildVersion
	if err := json.Unmarshal([]byte(output(t, "version", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.Version == "" || v.Library == "" || v.Go != runtime.Version() || v.Oldest != migrations.Oldest || v.Latest != migrations.Latest {
		t.Errorf("%+v", v)
	}
	if out := output(t, "--version"); out != "pgsocket version "+v.Version+"\n" {
		t.Errorf("%q", out)
	}
}
