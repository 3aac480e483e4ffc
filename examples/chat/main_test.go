package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
)

const database = "postgres://h/d"

// TestParse_Refusals gives each flag wrong values. Every refusal is one line.
func TestParse_Refusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		says string
	}{
		{"x", `"x" is not a flag`},
		{"-unknown", "flag provided but not defined: -unknown"},
		{"-schema=", "-schema is empty"},
		{"-node=", "-node is empty"},
		{"-node 3000", `-node "3000" is not an address like 127.0.0.1:3000`},
		{"-node 127.0.0.1:http:", "is not an address"},
		{"-listen=", "-listen is empty"},
		{"-listen 3000", `-listen "3000" is not an address like 127.0.0.1:3000`},
		{"-listen :99999", `-listen ":99999" is not an address`},
		{"-listen :3000 -nodes 127.0.0.1:3000", "-nodes has no effect with -listen"},
		{"-nodes=", `-nodes "" is not an address`},
		{"-nodes 127.0.0.1:3001,x", `-nodes "x" is not an address`},
		{"-drain 5", `invalid value "5"`},
		{"-drain 0s", "-drain 0s is not positive"},
		{"-drain -1s", "-drain -1s is not positive"},
		{"-attached", "-attached is for one node"},
		{"-migrate -node 127.0.0.1:3001", "-migrate runs no node"},
		{"-migrate -listen :3000", "-migrate runs no node"},
	} {
		_, err := parse(strings.Fields(c.args), database)
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("chat %s: %v, want %s", c.args, err, c.says)
		}
	}
	for _, args := range []string{"-migrate", "-listen :3000", "-node 127.0.0.1:3000"} {
		if _, err := parse(strings.Fields(args), ""); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "DATABASE_URL is not set") {
			t.Errorf("chat %s: %v", args, err)
		}
	}
}

func TestParse_Accepted(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		node, listen string
		nodes        int
	}{
		"": {nodes: 3}, "-listen :3000": {node: host, listen: ":3000"}, "-node a -listen [::]:0": {node: "a", listen: "[::]:0"},
		"-node 127.0.0.1:3001 -attached": {node: "127.0.0.1:3001", nodes: 3}, "-nodes 127.0.0.1:0,localhost:0": {nodes: 2},
	} {
		cfg, err := parse(strings.Fields(args), database)
		if err != nil || cfg.node != want.node || cfg.listen != want.listen || len(cfg.nodes) != want.nodes {
			t.Errorf("chat %s: %+v, %v", args, cfg, err)
		}
	}
	if _, err := parse(nil, ""); err != nil {
		t.Errorf("the demo needs no address: %v", err)
	}
}

// TestDockerfile_IsANodeThatIsReachable takes the arguments of docker run without arguments.
func TestDockerfile_IsANodeThatIsReachable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(text), "\nCMD ")
	var args []string
	if err := json.Unmarshal([]byte(command), &args); err != nil {
		t.Fatalf("%q: %v", command, err)
	}
	cfg, err := parse(args, database)
	if err != nil || !strings.HasPrefix(cfg.listen, ":") || !strings.Contains(string(text), "\nEXPOSE "+cfg.listen[1:]+"\n") {
		t.Errorf("%q: %+v, %v", args, cfg, err)
	}
}

// TestFree_OtherAddresses takes other ports only where those are in use.
func TestFree_OtherAddresses(t *testing.T) {
	t.Parallel()
	used, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close() //nolint:errcheck // there are no connections
	if got, err := free(t.Context(), []string{used.Addr().String()}); err != nil || len(got) != 1 || got[0] == used.Addr().String() {
		t.Errorf("%q, %v", got, err)
	}
	const elsewhere = "203.0.113.1:3000" // RFC 5737
	if got, err := free(t.Context(), []string{elsewhere}); err == nil || !strings.Contains(err.Error(), elsewhere) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStatusCommand(t *testing.T) {
	t.Parallel()
	const program = "go -C cmd/pgsocket run . status"
	for want, got := range map[string]string{
		program:                          statusCommand(config{dsn: database, schema: "socketio"}, false),
		program + " --schema 'it'\\''s'": statusCommand(config{dsn: database, schema: "it's"}, false),
		program + " --dsn 'postgres://h/d' --schema 'other'": statusCommand(config{dsn: database, schema: "other"}, true),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
