package eventmap_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuide_ExampleCompiles builds the events of the guide, writes their types, and compiles the client of the guide against
// them.
func TestGuide_ExampleCompiles(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "../../docs/guide.md"), "## Types for the front end")
	block := func(begin string) string {
		_, text, found := strings.Cut(section, begin)
		text, _, closed := strings.Cut(text, "```")
		if !found || !closed {
			t.Fatalf("the guide has no block that begins with %q", begin)
		}
		return text
	}
	p := newProject(t)
	p.write("tsconfig.json", `{"compilerOptions": {
		"strict": true, "noEmit": true, "target": "es2022", "module": "esnext", "moduleResolution": "bundler", "types": ["node"]
	}, "include": ["*.ts"]}`)
	p.write("events.d.ts", guideTypes(t, p, "// Package events"+block("```go\n// Package events")))
	p.write("client.ts", block("```ts\n")+`
export const seat: number = answer.number; // the type of the answer is known
export const code: string | undefined = left?.error.code;
`)
	if out := p.compile(); out != "" {
		t.Errorf("%s", out)
	}
}

// guideTypes runs a program that writes the types of the package in the guide, which exists in an overlay only.
func guideTypes(t *testing.T, p *project, events string) string {
	t.Helper()
	p.write("guide.go", events)
	p.write("main.go", `package main

import (
	"os"

	"github.com/pgsocket/socketio/integration/eventmap/guide/events"
)

func main() {
	if err := events.Map().WriteTypeScript(os.Stdout); err != nil {
		panic(err)
	}
}
`)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(here, "guide", "main.go"):             filepath.Join(p.dir, "main.go"),
		filepath.Join(here, "guide", "events", "events.go"): filepath.Join(p.dir, "guide.go"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.write("overlay.json", string(overlay))
	cmd := exec.CommandContext(t.Context(), "go", "run", "-overlay", filepath.Join(p.dir, "overlay.json"), "./guide")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &complaints)
	}
	return string(out)
}
