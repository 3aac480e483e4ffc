//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
)

// A proxy is one of the proxies in examples/proxies, and what it does.
type proxy struct {
	harness.Proxy
	polling      bool // it routes a client to the same node again
	retriesOn503 bool // when a node answers 503 it tries the other
}

// With the cookies of a browser, which has them by itself.
var proxies = map[string]proxy{
	"nginx":                 {Proxy: harness.NGINX("nginx.conf"), polling: true, retriesOn503: true},
	"nginx, WebSocket only": {Proxy: harness.NGINX("nginx-websocket.conf"), retriesOn503: true},
	"HAProxy":               {Proxy: harness.HAProxy(), polling: true, retriesOn503: true},
	"Caddy":                 {Proxy: harness.Caddy(), polling: true},
}

// twoNodes starts a cluster of two nodes behind the proxy, and returns the URL of the proxy.
func (p *proxy) twoNodes(t *testing.T) (cl *harness.Cluster, url string) {
	t.Helper()
	cl = harness.NewCluster(t, 0)
	return cl, p.Start(t, cl.StartAt(harness.FreeAddress(t)).Addr, cl.StartAt(harness.FreeAddress(t)).Addr)
}

// TestProxies_RecoveryAtOtherNode connects a client of each transport to two nodes through a proxy. Their node is
// killed or shut down again and again. They are recovered at the other node and miss nothing.
func TestProxies_RecoveryAtOtherNode(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			p.Find(t)
			cl, url := p.twoNodes(t)
			n1, n2 := cl.Nodes[0], cl.Nodes[1]

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
			p.Find(t)
			cl, url := p.twoNodes(t)
			n1, n2 := cl.Nodes[0], cl.Nodes[1]

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
			p.Find(t)
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
				url := p.Start(t, nodes...)
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
			p.Find(t)
			dead, alive := harness.FreeAddress(t), serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			for _, nodes := range [][2]string{{dead, alive}, {alive, dead}} {
				url := p.Start(t, nodes[0], nodes[1])
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
			p.Find(t)
			node := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Host)
			}))
			url := p.Start(t, node, harness.FreeAddress(t))
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

// serve serves a handler, and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
