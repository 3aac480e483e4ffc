package fromnode_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
)

// TestSwitch_ClientsMissNothing moves the clients of a server in Node to one in Go behind nginx: first half of them, with both
// servers in use, then the others. All receive each message once, in one order. Sessions of the server in Node are not recovered,
// those of the server in Go are.
func TestSwitch_ClientsMissNothing(t *testing.T) { //nolint:paralleltest // it runs several processes
	const clients = 8
	dsn := database(t)
	goAt, nodeAt, proxyAt := harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t)
	db := connect(t, dsn)
	run := func(sql string) {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run("insert into messages (content) values ('first')")
	goServer(t, "chat", dsn, goAt)
	stopNode := nodeServer(t, "bridge", dsn, []string{"GO_URL=http://" + goAt}, nodeAt)
	proxy := harness.NGINX("nginx-from-node.conf")
	proxy.Find(t)
	upstreams := [][2]string{{"127.0.0.1:3001", nodeAt}, {"127.0.0.1:3002", goAt}}
	stopProxy := proxy.StartAt(t, proxyAt, upstreams...)

	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(nodeServers, "switch.mjs"), "http://"+proxyAt, "http://"+goAt, fmt.Sprint(clients))
	cmd.Stderr = t.Output()
	in, out := harness.StartPiped(t, cmd)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the clients did not connect")
	}
	ask := func(line string, answer any) {
		if _, err := fmt.Fprintln(in, line); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatal("the clients ended: ", cmd.Wait())
		}
		if err := json.Unmarshal(lines.Bytes(), answer); err != nil {
			t.Fatal(err)
		}
	}
	post := func(name, all string) {
		var received []string
		ask(name, &received)
		if want := slices.Repeat([]string{all}, clients); !slices.Equal(received, want) {
			t.Errorf("after %q the clients had received %q", name, received)
		}
	}

	post("both", "first both")
	var atGo int // besides the bridge and the witness
	if err := db.QueryRow(t.Context(), "select count(*) - 2 from socketio.view_sessions").Scan(&atGo); err != nil {
		t.Fatal(err)
	}
	if atGo <= 0 || atGo >= clients {
		t.Fatalf("%d of %d clients are at the server in Go", atGo, clients)
	}
	post("half", "first both half")

	stopProxy()
	stopNode()
	run(`with post as (insert into messages (content) values ('away') returning content, id)
		select socketio.emit_all('chat message', args => jsonb_build_array(content, id), notify => true) from post`)
	ask("!", new(any))
	proxy.StartAt(t, proxyAt, append(upstreams, [2]string{"50% go;", "100% go;"})...)
	var recovered []bool
	ask("?", &recovered)
	if got := len(slices.DeleteFunc(recovered, func(r bool) bool { return !r })); got != atGo {
		t.Errorf("%d clients were recovered; %d were at the server in Go before", got, atGo)
	}
	post("moved", "first both half away moved")
	_ = in.Close() // the clients end with their input
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
