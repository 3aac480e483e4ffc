//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package fromnode_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
)

// recovered are the lines of a client about its sessions, which is where the servers differ.
var recovered = regexp.MustCompile(`(?m)^\["recovered",.*\n`)

// TestServers_SameForTheirClients: a client cannot tell the servers of the guide in Node from those in Go, but recovery.
func TestServers_SameForTheirClients(t *testing.T) {
	for _, name := range []string{"hello", "chat", "idioms"} {
		t.Run(name, func(t *testing.T) {
			addresses, urls := two(t)
			if name == "hello" { // in memory
				addresses, urls = addresses[:1], []string{urls[0], urls[0]}
			}
			stop := nodeServer(t, name, database(t), nil, addresses...)
			node := string(client(t, name, urls...))
			stop()
			addresses, urls = two(t)
			if name == "hello" {
				addresses, urls = addresses[:1], []string{urls[0], urls[0]}
			}
			goServer(t, name, database(t), addresses...)
			got := string(client(t, name, urls...))
			if without := recovered.ReplaceAllString; without(got, "") != without(node, "") {
				t.Errorf("the client of the server in Go observed\n%s\nand that of the server in Node\n%s", got, node)
			}
			if name != "chat" {
				return
			}
			const back = `["recovered","bob",true]`
			if !strings.Contains(got, back) {
				t.Errorf("the server in Go recovered nobody:\n%s", got)
			}
			if strings.Contains(node, back) {
				t.Errorf("the cluster adapter recovers sessions; the guide says that it does not:\n%s", node)
			}
		})
	}
}

// TestOneHost_BehindProxies runs the recipe for one host: two processes, one Postgres, and a proxy. Clients that poll, those
// that upgrade, and the broken connections of the chat's clients are served.
func TestOneHost_BehindProxies(t *testing.T) {
	addresses, _ := two(t)
	dsn := database(t)
	goServer(t, "chat", dsn, addresses...)
	db := connect(t, dsn)
	for name, c := range map[string]struct {
		proxy   harness.Proxy
		replace [][2]string
	}{
		"nginx":          {proxy: harness.NGINX("nginx.conf")},
		"nginx, ip_hash": {harness.NGINX("nginx.conf"), [][2]string{{"hash $remote_addr consistent;", "ip_hash;"}}},
		"HAProxy":        {proxy: harness.HAProxy()},
		"HAProxy by address": {harness.HAProxy(), [][2]string{
			{"balance leastconn\n", "balance source\n"},
			{"    cookie node insert indirect nocache httponly attr SameSite=Lax\n", ""},
			{" cookie a\n", "\n"},
			{" cookie b\n", "\n"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.proxy.Find(t)
			if _, err := db.Exec(t.Context(), "truncate messages restart identity"); err != nil {
				t.Fatal(err)
			}
			addr := harness.FreeAddress(t)
			c.proxy.StartAt(t, addr, append(c.replace, [2]string{"127.0.0.1:3001", addresses[0]}, [2]string{"127.0.0.1:3002", addresses[1]})...)
			url := "http://" + addr
			out := string(client(t, "chat", url, url))
			if !strings.Contains(out, `["recovered","bob",true]`) || !strings.Contains(out, `["all",[["one","two","three","four","five"],`) {
				t.Errorf("the client observed\n%s", out)
			}
		})
	}
}
