package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/pgsocket/socketio"
)

var update = flag.Bool("update", false, "write events.d.ts")

// TestEventMap_FileIsCurrent compares the types that the page is checked against with the events.
func TestEventMap_FileIsCurrent(t *testing.T) {
	t.Parallel()
	const file = "events.d.ts"
	c := &chat{io: socketio.NewServer(nil)}
	c.register()
	var b strings.Builder
	if err := c.eventMap().WriteTypeScript(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a source file
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(was) != b.String() {
		t.Errorf("%s is not what the events are now: run go generate ./examples/chat", file)
	}
}
