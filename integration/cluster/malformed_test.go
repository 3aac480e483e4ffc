//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// TestConnect_Burst connects two thousand clients in bursts. All are connected, and all receive the events that are
// emitted then. Then all reconnect to the other node at once.
func TestConnect_Burst(t *testing.T) {
	const bursts, size = 4, 500
	cl := harness.NewCluster(t, 2)
	var all []*wire.Client
	var received atomic.Int64
	began := time.Now()
	slowest := time.Duration(0)
	for range bursts {
		errs := make(chan error, size)
		burst := time.Now()
		for i := range size {
			c := wire.New(wire.Options{Event: func(json.RawMessage) { received.Add(1) }})
			all = append(all, c)
			go func() { errs <- c.Connect(t.Context(), cl.Nodes[i%2].Addr) }() // waited for below
		}
		for range size {
			if err := <-errs; err != nil {
				t.Errorf("connect: %v", err)
			}
		}
		slowest = max(slowest, time.Since(burst))
	}
	t.Cleanup(func() {
		for _, c := range all {
			c.Cut()
		}
	})
	if t.Failed() {
		return
	}
	took := time.Since(began)
	h := harness.NewClients(t, 0).History
	cl.Nodes[0].MustPublish(h, harness.Publication{Publisher: 1, Count: 5})
	if !harness.Eventually(harness.MaxWait, func() bool { return received.Load() == 5*bursts*size }) {
		t.Errorf("%d events received, want %d", received.Load(), 5*bursts*size)
	}

	// All reconnect at once, to the other node.
	for _, c := range all {
		c.Cut()
	}
	cl.Nodes[0].MustPublish(h, harness.Publication{Publisher: 1, First: 5, Count: 5})
	storm := time.Now()
	errs := make(chan error, len(all))
	for i, c := range all {
		go func() { errs <- c.Connect(t.Context(), cl.Nodes[(i+1)%2].Addr) }() // waited for below
	}
	lost := 0
	for range all {
		if err := <-errs; err != nil {
			t.Errorf("come back: %v", err)
		}
	}
	back := time.Since(storm)
	for _, c := range all {
		if !c.Recovered() {
			lost++
		}
	}
	if !harness.Eventually(harness.MaxWait, func() bool { return received.Load() == 10*bursts*size }) {
		t.Errorf("%d events received, want %d", received.Load(), 10*bursts*size)
	}
	if lost > 0 {
		t.Errorf("%d of %d clients were not recovered", lost, len(all))
	}
	t.Logf("SUMMARY %s: %d clients connected in %d bursts in %v (slowest burst %v); all %d reconnected to the other node at once in %v, %d of them recovered",
		t.Name(), len(all), bursts, took.Round(time.Millisecond), slowest.Round(time.Millisecond), len(all), back.Round(time.Millisecond), len(all)-lost)
}

// TestMalformed_Packets sends ten thousand malformed packets on other connections. The official clients receive
// everything, without a disconnect.
func TestMalformed_Packets(t *testing.T) {
	const packets, senders = 10_000, 24
	s := harness.Seed(t)
	cl := harness.NewCluster(t, 2)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(20, cl.RunningURLs(), nil)
	cs.Join(harness.Numbers(20), harness.RoomsOf)
	stop := harness.StartPublishing(t, cl.Nodes[0], cs.History, 1, 200)
	corpus := fuzzCorpora(t)

	began := time.Now()
	var sent, connections atomic.Int64
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			m := &malformedSender{rng: harness.NewRand(s + uint64(i)), corpus: corpus, addr: cl.Nodes[i%2].Addr, sent: &sent, connections: &connections}
			for sent.Load() < packets {
				if err := m.connection(t); err != nil {
					t.Errorf("no connection for a malformed packet: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	stop()

	cs.AwaitDelivery(cl.Nodes[1], harness.MaxWait)
	cs.Check()
	if back, _ := cs.Reconnections(); back != 0 {
		t.Errorf("%d official clients lost their connection", back)
	}
	if !harness.Eventually(harness.MaxWait, func() bool { return len(cl.Nodes[0].Sockets())+len(cl.Nodes[1].Sockets()) == 20 }) {
		t.Errorf("%d sockets are left", len(cl.Nodes[0].Sockets())+len(cl.Nodes[1].Sockets()))
	}
	gone := cl.Nodes[0].Stats().Disconnects
	t.Logf("SUMMARY %s: %d malformed packets on %d connections in %v, %d samples from the fuzz corpora; 20 clients received %d events; disconnections of node 1: %v",
		t.Name(), sent.Load(), connections.Load(), took.Round(time.Millisecond), len(corpus), cs.History.Receipts(), gone)
}

// A malformedSender sends what no client would send.
type malformedSender struct {
	rng               *rand.Rand
	corpus            [][]byte
	addr              string
	sent, connections *atomic.Int64
}

// connection opens one connection, connects to a namespace in half of the cases, and sends until the node closes it.
func (m *malformedSender) connection(t *testing.T) error {
	link, err := wire.Dial(harness.ContextFor(t, harness.MaxWait), m.addr)
	if err != nil {
		return err
	}
	defer link.Cut()
	m.connections.Add(1)
	if m.rng.IntN(2) == 0 {
		if err := link.Send("40"); err != nil {
			return err
		}
		if _, err := link.Next(); err != nil {
			return err
		}
	}
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		for {
			if _, err := link.Next(); err != nil {
				return
			}
		}
	}()
	for range 1 + m.rng.IntN(20) {
		m.sent.Add(1)
		if m.send(link) != nil {
			break
		}
		if m.rng.IntN(3) == 0 {
			select { // usually the node has closed it by now
			case <-ended:
				return nil
			case <-time.After(time.Millisecond):
			}
		}
	}
	if m.rng.IntN(4) == 0 {
		link.Close()
	}
	return nil
}

func (m *malformedSender) send(link *wire.Link) error {
	sample := m.sample()
	switch m.rng.IntN(12) {
	case 0: // as an Engine.IO packet of any type
		return link.Send(string(sample))
	case 1: // as a binary message without a packet that announces it
		return link.Frame(ws.OpBinary, sample)
	case 2: // missing attachments, and another packet instead
		return errors.Join(link.Send(`452-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`), link.Send("4"+string(sample)))
	case 3: // a frame with reserved bits, or an unmasked one, or one of an unknown opcode
		frame := ws.MustCompileFrame(ws.NewFrame(ws.OpText, true, sample))
		if m.rng.IntN(2) == 0 {
			frame[0] |= byte(0x70 & m.rng.IntN(256))
		}
		return link.Write(frame)
	case 4: // half a frame, then nothing
		frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(ws.OpText, true, append([]byte("42"), sample...))))
		return link.Write(frame[:1+m.rng.IntN(len(frame)-1)])
	case 5: // a frame with an enormous length
		return link.Write([]byte{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4})
	case 6: // deeply nested JSON
		n := 1 + m.rng.IntN(50_000)
		return link.Send(`42["echo",` + strings.Repeat("[", n) + strings.Repeat("]", n) + "]")
	case 7: // control frames that are too long
		return link.Frame(ws.OpPing, bytes.Repeat([]byte("x"), m.rng.IntN(300)))
	default: // as a Socket.IO packet
		return link.Send("4" + string(sample))
	}
}

var packetTemplates = []string{
	`2["echo",%s]`, `2%d["echo"]`, `2["join",["%s"]]`, `2["%s"]`, `3%d[]`, `0{"pid":"%s","offset":"%s"}`, `0/%s,{}`, `1/%s,`,
	`5%d-["echo",{"_placeholder":true,"num":%d}]`, `2[%s`, `2["connect"]`, `2["disconnect","%s"]`, `4{"message":"%s"}`, `6%d-%d[]`,
	`2["fail","panic"]`, `20["fail","panic"]`, `2["set",{"key":"%s"}]`, `7%s`, `%s`, ``, `2`, `2[]`, `2{}`, `2[1]`, `2[null]`, `2["get"]`,
}

// sample returns an input of the fuzz corpora or of a template, at times with one byte changed.
func (m *malformedSender) sample() []byte {
	var b []byte
	if m.rng.IntN(2) == 0 {
		b = bytes.Clone(m.corpus[m.rng.IntN(len(m.corpus))])
	} else {
		template := packetTemplates[m.rng.IntN(len(packetTemplates))]
		args := make([]any, 0, 2)
		for _, part := range strings.SplitAfter(template, "%")[1:] {
			if part[0] == 'd' {
				args = append(args, m.rng.IntN(1<<m.rng.IntN(40)))
				continue
			}
			text := make([]byte, m.rng.IntN(40))
			for i := range text {
				text[i] = byte(m.rng.IntN(256))
			}
			args = append(args, text)
		}
		b = fmt.Appendf(nil, template, args...)
	}
	if m.rng.IntN(3) == 0 && len(b) > 0 {
		b[m.rng.IntN(len(b))] = byte(m.rng.IntN(256))
	}
	return b
}

// fuzzCorpora returns the inputs in the fuzz corpora of the packages.
func fuzzCorpora(t *testing.T) [][]byte {
	t.Helper()
	files, err := filepath.Glob("../../*/testdata/fuzz/*/*")
	deeper, err2 := filepath.Glob("../../*/*/testdata/fuzz/*/*")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	var samples [][]byte
	for _, file := range append(files, deeper...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			for _, kind := range []string{"[]byte(", "string("} {
				quoted, ok := strings.CutPrefix(line, kind)
				if s, err := strconv.Unquote(strings.TrimSuffix(quoted, ")")); ok && err == nil {
					samples = append(samples, []byte(s))
				}
			}
		}
	}
	if len(samples) == 0 {
		t.Fatal("the fuzz corpora are empty")
	}
	return samples
}

// TestMalformed_HTTPRequests sends malformed HTTP requests, some of which stay incomplete and open.
func TestMalformed_HTTPRequests(t *testing.T) {
	cl := harness.NewCluster(t, 1)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(5, cl.RunningURLs(), nil)
	const upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	for i := range 200 {
		conn, err := net.Dial("tcp", cl.Nodes[0].Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() }) // some stay open and silent during the test
		_, err = conn.Write([]byte([]string{
			"GET /socket.io/?EIO=3&transport=websocket HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET /socket.io/?EIO=4&transport=websocket&sid=nobody HTTP/1.1\r\nHost: x\r\n\r\n",
			"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
			upgrade + "Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: x\r\n\r\n",
			upgrade + "Sec-WebSocket-Version: 13\r\n\r\n",
			upgrade,
			upgrade + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81",
			"\x00\x01\x02\x03\r\n\r\n",
			"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2<<20),
		}[i%9]))
		if i%9 != 8 && err != nil {
			t.Fatal(err)
		}
	}
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 1, Count: 100})
	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
	cs.Check()
	if back, _ := cs.Reconnections(); back != 0 {
		t.Errorf("%d official clients lost their connection", back)
	}
}
