package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio/pgtest"
)

// follow starts tail and returns the program and its output.
func follow(t *testing.T, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := program(t.Context(), append([]string{"tail"}, args...)...)
	return cmd, start(t, cmd)
}

// line reads a line of output. It fails if the program ends.
func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", text, err)
	}
	return text
}

// interrupt ends a program that runs until then, which exits with 0.
func interrupt(t *testing.T, cmd *exec.Cmd, rest io.Reader) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, rest); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

func TestTail_Prints(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	where := []string{"--dsn", dsn, "--schema", schema}
	emit(t, where, "--room", "elsewhere", "missed")
	emit(t, where, "--room", "lobby", "--except", "my room", "news", `{"n":1}`, `"two"`)
	tail, out := follow(t, append(where, "--room", "lobby", "--since", "1h")...)

	first := line(t, out)
	var at time.Time
	if err := conn.QueryRow(t.Context(), "select at from "+schema+".log order by id desc limit 1").Scan(&at); err != nil {
		t.Fatal(err)
	}
	want := at.Format(timeFormat) + `  8192  /  to lobby except "my room"  ["news",{"n":1},"two"]` + "\n"
	if first != want {
		t.Errorf("tail printed %q, want %q", first, want)
	}

	emit(t, where, "--room", "elsewhere", "missed")
	emit(t, where, "--room", "lobby", "--room", "hall", "--volatile", "more")
	execute(t, conn, schema, "select SCHEMA.emit('lobby', 'sql')")
	for _, want := range []string{`  /  to lobby, hall, volatile  ["more"]` + "\n", `  /  to lobby  ["sql"]` + "\n"} {
		if got := line(t, out); !strings.HasSuffix(got, want) {
			t.Errorf("tail printed %q, want …%q", got, want)
		}
	}
	if status := output(t, slices.Concat([]string{"status"}, where)...); !strings.Contains(status, "\npgsocket tail ") {
		t.Errorf("status:\n%s", status)
	}
	interrupt(t, tail, out)
	if status := output(t, slices.Concat([]string{"status"}, where)...); strings.Contains(status, "\npgsocket tail ") {
		t.Errorf("it did not leave the cluster:\n%s", status)
	}
}

func TestTail_Filters(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	execute(t, connect(t, dsn), schema,
		"select SCHEMA.emit_all('a', '1')", "select SCHEMA.emit_all('b', '2')", "select SCHEMA.emit_all('c', '3', namespace => '/admin')",
		"select SCHEMA.emit('lobby', 'a', '4')", "select SCHEMA.join_room('lobby', 'hall')", "select SCHEMA.emit_all('end', '5')")
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, `["a", 1]["b", 2]["c", 3]["a", 4]["hall"]["end", 5]`},
		{[]string{"--event", "a", "--event", "end"}, `["a", 1]["a", 4]["end", 5]`},
		{[]string{"--namespace", "/admin"}, `["c", 3]`},
		{[]string{"--room", "elsewhere"}, `["a", 1]["b", 2]["c", 3]["end", 5]`},
		{[]string{"--room", "lobby", "--event", "a"}, `["a", 1]["a", 4]`},
	} {
		tail, out := follow(t, append(c.flags, "--since", "1h", "--dsn", dsn, "--schema", schema)...)
		var got strings.Builder
		for range strings.Count(c.want, "[") {
			text := line(t, out)
			got.WriteString(text[strings.Index(text, "[") : len(text)-1])
		}
		if got.String() != c.want {
			t.Errorf("%q: %s, want %s", c.flags, got.String(), c.want)
		}
		interrupt(t, tail, out)
	}
}

func TestTail_JSON(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	where := []string{"--dsn", dsn, "--schema", schema}
	var emitted struct {
		Position int64
		Offset   string
	}
	if err := json.Unmarshal([]byte(output(t, slices.Concat([]string{"emit", "--json"}, where, []string{"news", `{"n":1}`})...)), &emitted); err != nil {
		t.Fatal(err)
	}
	execute(t, connect(t, dsn), schema, "select SCHEMA.join_room('lobby', 'hall')")
	tail, out := follow(t, append(where, "--json", "--since", "1h")...)
	event := line(t, out)
	var r record
	if err := json.Unmarshal([]byte(event), &r); err != nil {
		t.Fatal(err)
	}
	if r.Position != emitted.Position || r.Offset != emitted.Offset || r.Event != "news" || len(r.Args) != 1 || string(r.Args[0]) != `{"n":1}` || !r.Everybody || r.Kind != "event" {
		t.Errorf("%s, emitted as %+v", event, emitted)
	}
	if !strings.Contains(event, `"rooms":[],"except":[]`) || !regexp.MustCompile(`"at":"[^"]*Z"`).MatchString(event) {
		t.Errorf("%s", event)
	}
	r = record{}
	if err := json.Unmarshal([]byte(line(t, out)), &r); err != nil || r.Kind != "join" || !slices.Equal(r.Rooms, []string{"lobby"}) || !slices.Equal(r.Changed, []string{"hall"}) {
		t.Errorf("%v: %+v", err, r)
	}
	interrupt(t, tail, out)
}

// Calls of the cluster wait for the answers of all nodes with a server; tail is none.
func TestTail_ClusterCallsDoNotWaitForIt(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	server := runNode(t, dsn, schema, 5*time.Minute)
	emit(t, []string{"--dsn", dsn, "--schema", schema}, "news")
	tail, out := follow(t, "--since", "1h", "--dsn", dsn, "--schema", schema)
	line(t, out)
	for _, err := range server.Of("/").All().Fetch(t.Context()) {
		t.Errorf("a socket or an error of %v", err)
	}
	if nodes, err := server.Nodes(t.Context()); err != nil || len(nodes) != 1 {
		t.Errorf("%v, %v", nodes, err)
	}
	interrupt(t, tail, out)
}

// The reader of the output ends first, as in tail | head.
func TestTail_OutputIsClosed(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	where := []string{"--dsn", dsn, "--schema", schema}
	emit(t, where, "news")
	tail := program(t.Context(), slices.Concat([]string{"tail", "--since", "1h"}, where)...)
	var errs strings.Builder
	tail.Stderr = &errs
	stdout, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	line(t, bufio.NewReader(stdout))
	if err := stdout.Close(); err != nil {
		t.Fatal(err)
	}
	emit(t, where, "news")
	if err := tail.Wait(); err != nil || errs.String() != "" {
		t.Errorf("%v: %s", err, errs.String())
	}
}

func TestTail_SinceBeyondWhatIsKept(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	where := []string{"--dsn", dsn, "--schema", schema}
	emit(t, where, "first")
	execute(t, conn, schema, "update SCHEMA.meta set low = 4096 + 4095", "delete from SCHEMA.log")
	emit(t, where, "second")
	var errs strings.Builder
	tail := program(t.Context(), "tail", "--since", "1h", "--dsn", dsn, "--schema", schema)
	tail.Stderr = &errs
	out := start(t, tail)
	if got := line(t, out); !strings.Contains(got, "second") {
		t.Errorf("%q", got)
	}
	interrupt(t, tail, out)
	if !strings.Contains(errs.String(), "not everything since then is kept") {
		t.Errorf("%q", errs.String())
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"5m":                   now.Add(-5 * time.Minute),
		"2026-01-01T00:00:00Z": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-5m", "yesterday", "5"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func emit(t *testing.T, where []string, args ...string) {
	t.Helper()
	output(t, slices.Concat([]string{"emit"}, where, args)...)
}

// start starts a program and returns its output.
func start(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(stdout)
}
