//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package clients_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
)

// TestPythonClient exercises python-socketio, which has a parser and transports of its own.
func TestPythonClient(t *testing.T) {
	cl := harness.NewCluster(t, 1, "-ping-interval", "1s", "-ping-timeout", "5s")
	for name, c := range map[string]struct {
		args []string
		ends string // the transport at the end
	}{
		"polling":              {[]string{"polling"}, "polling"},
		"websocket":            {[]string{"websocket"}, "websocket"},
		"polling to websocket": {nil, "websocket"},
	} {
		t.Run(name, func(t *testing.T) {
			got := python(t, "python/client.py", append([]string{cl.Nodes[0].URL}, c.args...)...)
			want := `
connected ["/", "/chat", "/guarded"] 3
transport "` + c.ends + `"
echo "/" [1, "√ 😀", null, 3.5, true, [4], {"five": {}}]
echo "/guarded" "of the namespace"
call-me "/" {"asked": "what time is it", "in": "/"}
call-me "/chat" {"asked": "and there", "in": "/chat"}
fail "/" {"error": {"code": "teapot", "message": "short and stout", "data": [4, 1, 8]}}
echo "/" [{"$bin": "0001ff"}, {"deep": [{"$bin": ""}, {"$bin": "6869"}]}]
bytes "/" {"$bin": "000102ff"}
call-me "/" {"asked": {"with": {"$bin": "00"}}, "in": "/"}
post "/" {"hello": "/", "file": {"$bin": "07"}} ["str"]
post "/chat" {"hello": "/chat", "file": {"$bin": "07"}} ["str"]
end "/" "disconnected"
echo "/chat" "still here"
refused {"message": "not today", "data": {"why": ""}}
`
			if got != want[1:] {
				t.Errorf("output of the client\n%s\nwant\n%s", got, want)
			}
		})
	}
	// This client may exit before its close packet is sent while it polls.
	if !harness.Eventually(harness.MaxWait, func() bool { return len(cl.Nodes[0].Sockets()) == 0 }) {
		t.Error("the node did not notice that the clients have disconnected")
	}
}

// TestPython_EmitsBySQL emits from a Python program without Socket.IO, in SQL transactions.
func TestPython_EmitsBySQL(t *testing.T) {
	cl := harness.NewCluster(t, 1)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(1, cl.RunningURLs(), nil)
	cs.Join([]int{0}, func(int) []string { return []string{"orders"} })

	if got := python(t, "python/emit.py", cl.DSN, cl.Schema); got != "taken back\n" {
		t.Errorf("output of the program: %q", got)
	}
	cs.Await(harness.MaxWait, "three events", func() bool { return len(cs.ByNumber[0].Events) >= 3 })
	got := make([]string, 0, 3)
	for _, e := range cs.Get(0).Events {
		args, err := json.Marshal(e.Args[:len(e.Args)-1]) // the offset
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s", e.Event, args))
	}
	want := `order [{"id":1}]
order [{"id":3}]
photo [3,{"$bin":"AAH/"}]`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// python runs a script and returns its output. Without Python and the libraries of the Debian packages it skips the
// test; in CI it fails it.
func python(t *testing.T, script string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.MaxWait)
	defer cancel()
	program := ""
	for _, path := range []string{"python3", "/usr/bin/python3"} { // the first may lack the libraries
		if exec.CommandContext(ctx, path, "-c", "import socketio, requests, websocket, psycopg2").Run() == nil {
			program = path
			break
		}
	}
	if program == "" {
		harness.SkipMissing(t, "python-socketio, with requests, websocket-client and psycopg2,")
	}
	cmd := exec.CommandContext(ctx, program, append([]string{script}, args...)...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("%s: %v\n%s\noutput\n%s", script, err, &complaints, out)
	}
	return string(out)
}
