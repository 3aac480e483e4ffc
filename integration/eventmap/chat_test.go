package eventmap_test

import (
	"strings"
	"testing"
)

// TestChat_PageFitsItsEvents checks the page of examples/chat, a script in JavaScript, against the types of its events: as they
// are, and with other fields.
func TestChat_PageFitsItsEvents(t *testing.T) {
	t.Parallel()
	const dir = "../../examples/chat/"
	events := read(t, dir+"events.d.ts")
	check := func(events string) string {
		p := newProject(t)
		p.write("tsconfig.json", read(t, dir+"jsconfig.json"))
		p.write("events.d.ts", events)
		for _, file := range []string{"globals.d.ts", "page/chat.js"} {
			p.write(file, read(t, dir+file))
		}
		return p.compile()
	}
	if out := check(events); out != "" {
		t.Errorf("the page does not fit its events:\n%s", out)
	}
	out := check(strings.NewReplacer("replayed: number", "replays: number", "text: string", "body: string").Replace(events))
	for _, want := range []string{
		"page/chat.js(", "'replayed' does not exist on type 'Welcome'", "'text' does not exist on type 'Post'",
		"'text' does not exist in type 'Words'",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
