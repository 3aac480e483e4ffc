//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
)

// A proxy is a proxy program with one of the configurations in examples/proxies.
type proxy struct {
	program      string
	file         string
	wrapper      string                     // a configuration around the file; %s: its text
	args         func(file string) []string // file: the wrapped configuration
	polling      bool                       // it routes a client to the same node again
	retriesOn503 bool                       // when a node answers 503 it tries the other
}

// With the cookies of a browser, which has them by itself.
var proxies = map[string]proxy{
	"nginx": {
		program: "nginx", file: "nginx.conf", wrapper: nginxWrapper, args: nginxArgs, polling: true, retriesOn503: true,
	},
	"nginx, WebSocket only": {
		program: "nginx", file: "nginx-websocket.conf", wrapper: nginxWrapper, args: nginxArgs, retriesOn503: true,
	},
	"HAProxy": {
		program: "haproxy", file: "haproxy.cfg", wrapper: "%s",
		args: func(file string) []string { return []string{"-db", "-f", file} }, polling: true, retriesOn503: true,
	},
	"Caddy": {
		program: "caddy", file: "Caddyfile", wrapper: "{\n\tadmin off\n}\n%s",
		args: func(file string) []string {
			return []string{"run", "--adapter", "caddyfile", "--config", file}
		}, polling: true,
	},
}

// nginxWrapper is a minimal nginx.conf that includes a file and writes nothing outside its directory.
const nginxWrapper = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
%s
}`

func nginxArgs(file string) []string {
	return []string{"-p", filepath.Dir(file), "-c", file, "-e", "stderr"}
}

// TestProxies_RecoveryAtOtherNode connects a client of each transport to two nodes through a proxy. Their node is
// killed or shut down again and again. They are recovered at the other node and miss nothing.
func TestProxies_RecoveryAtOtherNode(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			p.find(t)
			cl := harness.NewCluster(t, 0)
			n1, n2 := cl.StartAt(freeAddress(t)), cl.StartAt(freeAddress(t))
			url := p.start(t, n1.Addr, n2.Addr)

			cs := harness.NewClients(t, 1)
			for k, transports := range p.transports() {
				cs.Open(k, url, harness.Command{"opts": harness.Command{"transports": transports, "withCredentials": true}})
			}
			cs.Await(harness.MaxWait, "all clients connect", cs.AllConnectedLocked)
			for k := range cs.Numbers() {
				if got := cs.Call(k, "echo", map[string]string{"$bin": "AAH/"}); string(got[0]) != `{"$bin":"AAH/"}` {
					t.Errorf("client %d: echo %s", k, got)
				}
			}

			end, next := n1, n2 // some clients are at the first node, later all
			for i, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
				next.MustPublish(cs.History, harness.Publication{Publisher: 2*i + 1, Count: 10})
				end.Down = true
				end.Signal(sig)
				end.Wait(harness.MaxWait)
				next.MustPublish(cs.History, harness.Publication{Publisher: 2*i + 2, Count: 10})
				cs.AwaitNode(next)
				end, next = next, cl.StartAt(end.Addr)
			}

			cs.AwaitDelivery(next, harness.MaxWait)
			cs.Check()
			cs.CheckAllRecovered(2 * len(p.transports()))
			cs.SendAll(cs.Numbers(), harness.Command{"c": "leave"}) // otherwise the node would wait for the polling clients
			harness.Eventually(5*time.Second, func() bool { return len(next.Sockets()) == 0 })
		})
	}
}

// TestProxies_NodeRestarts_AllClientsReturn: when the only other node is killed, a node that was killed and started again
// gets all clients, not a few at a time.
func TestProxies_NodeRestarts_AllClientsReturn(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			p.find(t)
			cl := harness.NewCluster(t, 0)
			n1, n2 := cl.StartAt(freeAddress(t)), cl.StartAt(freeAddress(t))
			url := p.start(t, n1.Addr, n2.Addr)

			cs := harness.NewClients(t, 1)
			for k := range 40 {
				cs.Open(k, url, harness.Command{"opts": harness.Command{"transports": []string{"websocket"}, "withCredentials": true}})
			}
			cs.Await(harness.MaxWait, "all clients connect", cs.AllConnectedLocked)
			n2.Kill()
			cs.AwaitNode(n1)
			n2 = cl.StartAt(n2.Addr)
			n1.Kill()
			cs.AwaitNode(n2)
		})
	}
}

// TestProxies_NodeShutsDown: while a node shuts down, new clients reach the other, with the configurations that
// retry.
func TestProxies_NodeShutsDown(t *testing.T) {
	for name, p := range proxies {
		if !p.retriesOn503 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			p.find(t)
			leaving := socketio.NewServer(nil)
			if err := leaving.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			// Each node shuts down once, at the same address: the order of requests may depend on the addresses.
			var shutsDown, refused atomic.Int32
			node := func(number int32) string {
				return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if shutsDown.Load() == number {
						refused.Add(1)
						leaving.ServeHTTP(w, r)
					}
				}))
			}
			nodes := []string{node(0), node(1)}
			for number := range nodes {
				shutsDown.Store(int32(number))
				url := p.start(t, nodes...)
				for range 4 {
					if status, answer := pollOnce(t, url, ""); status != http.StatusOK {
						t.Errorf("a new client received %d %s", status, answer)
					}
				}
			}
			if refused.Load() == 0 {
				t.Error("the node that shuts down received no request")
			}
		})
	}
}

// TestProxies_DeadNode: requests do not fail because a node does not exist.
func TestProxies_DeadNode(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			p.find(t)
			dead, alive := freeAddress(t), serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			for _, nodes := range [][2]string{{dead, alive}, {alive, dead}} {
				url := p.start(t, nodes[0], nodes[1])
				for range 8 {
					if status, answer := pollOnce(t, url, ""); status != http.StatusOK {
						t.Errorf("a new client received %d %s", status, answer)
					}
				}
			}
		})
	}
}

// TestProxies_ForwardedHeaders: nodes receive the client's address and scheme, and the requested host.
func TestProxies_ForwardedHeaders(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			p.find(t)
			node := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Host)
			}))
			url := p.start(t, node, freeAddress(t))
			want := "127.0.0.1 http " + strings.TrimPrefix(url, "http://")
			if _, got := pollOnce(t, url, ""); got != want {
				t.Errorf("the node received %q, want %q", got, want)
			}
		})
	}
}

// TestPolling_OtherNode_UnknownSession shows why proxies must route a polling client to its node: no other node knows
// the session.
func TestPolling_OtherNode_UnknownSession(t *testing.T) {
	cl := harness.NewCluster(t, 2)
	_, open := pollOnce(t, cl.Nodes[0].URL, "")
	var handshake struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &handshake); err != nil {
		t.Fatalf("handshake %q: %v", open, err)
	}
	status, answer := pollOnce(t, cl.Nodes[1].URL, "&sid="+handshake.SID)
	if resp, err := http.Post(cl.Nodes[0].URL+"/socket.io/?EIO=4&transport=polling&sid="+handshake.SID, "text/plain", strings.NewReader("1")); err == nil {
		resp.Body.Close() // closes the session, so that the node does not wait for it
	}
	if want := `{"code":1,"message":"Session ID unknown"}`; status != http.StatusBadRequest || answer != want {
		t.Errorf("got %d %s, want %s", status, answer, want)
	}
}

// pollOnce sends one GET of a polling client; sid is empty in the first.
func pollOnce(t *testing.T, url, sid string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url + "/socket.io/?EIO=4&transport=polling" + sid)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func (p *proxy) transports() [][]string {
	if !p.polling {
		return [][]string{{"websocket"}}
	}
	return [][]string{{"websocket"}, {"polling"}, {"polling", "websocket"}}
}

// find skips the test if the program is not installed. In CI it fails the test.
func (p *proxy) find(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath(p.program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + p.program) // which is not in every PATH
	}
	if err != nil {
		harness.SkipMissing(t, p.program)
	}
	p.program = path
}

// start runs the proxy in front of two nodes, and returns its URL.
func (p *proxy) start(t *testing.T, nodes ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "proxies", p.file))
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(t.TempDir(), p.file)
	for _, replace := range [][2]string{{":8080", ":" + port}, {"127.0.0.1:3001", nodes[0]}, {"127.0.0.1:3002", nodes[1]}} {
		if strings.Count(string(text), replace[0]) != 1 {
			t.Fatalf("%s does not contain %s exactly once", p.file, replace[0])
		}
		text = []byte(strings.Replace(string(text), replace[0], replace[1], 1))
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, p.wrapper, text), 0o600); err != nil {
		t.Fatal(err)
	}

	log := &harness.LogBuffer{}
	cmd := exec.Command(p.program, p.args(file)...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		early := cmd.Process.Signal(syscall.SIGTERM) // fails if it has exited
		_ = cmd.Wait()
		if early != nil || t.Failed() {
			t.Errorf("output of %s: %s", p.program, log)
		}
	})
	ready := harness.Eventually(harness.MaxWait, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if !ready {
		t.Fatalf("%s does not listen", p.program)
	}
	return "http://" + addr
}

// serve serves a handler, and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// freeAddress returns an unused loopback address with a port outside the ephemeral range.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint("127.0.0.1:", 15_000+rand.IntN(15_000))
		if listener, err := net.Listen("tcp", addr); err == nil {
			_ = listener.Close() // nothing was accepted
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}
