package integration_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/history"
)

// seed returns the number that everything random in a test depends on, and prints it.
func seed(t testing.TB) uint64 {
	t.Helper()
	s := uint64(20261120)
	if text := os.Getenv("SOCKETIO_TEST_SEED"); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SOCKETIO_TEST_SEED=%d", s)
	return s
}

func dice(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// The publisher of the fence, an event to everybody that is emitted after all others.
const fencePublisher = 99

// clients are official clients, hosted by a few processes of Node.
type clients struct {
	t       testing.TB
	history *history.History
	hosts   []*host
	observe func(r record) // hears of everything, in order, before connectAll is called; nil: nobody

	mu      sync.Mutex
	changed chan struct{} // closed at every change
	byNum   map[int]*client
	next    int
	answers map[int]chan record
}

type host struct {
	mu sync.Mutex
	in io.WriteCloser
}

// A client is what is known of one client.
type client struct {
	num         int
	opened      int64 // when it was told to connect
	connected   bool
	id, pid     string
	offset      string
	transport   string // when it was last asked for its state
	recovered   bool   // its last connection
	connects    int
	recoveries  int
	ticks       int
	fence       int
	disconnects []string
	errors      []record
	events      []record
	rooms       []string
}

// A record is what a host tells.
type record struct {
	T         string
	K         int
	N         int
	I         []history.ID
	ID, PID   string
	Offset    string
	Transport string
	Recovered bool
	Reason    string
	Message   string
	Error     string
	Event     string
	Data      json.RawMessage
	Args      []json.RawMessage
	Order     string
}

// An order is what a host is told; see js/client.mjs.
type order map[string]any

// newClients starts the hosts.
func newClients(t testing.TB, hosts int) *clients {
	t.Helper()
	if _, err := os.Stat("js/node_modules/socket.io-client"); err != nil {
		t.Fatal("the official client is not installed: run npm ci in integration/js, or make setup")
	}
	c := &clients{
		t: t, history: &history.History{}, changed: make(chan struct{}),
		byNum: make(map[int]*client), answers: make(map[int]chan record),
	}
	for i := range hosts {
		cmd := exec.Command("node", "js/client.mjs")
		cmd.Env = append(os.Environ(), fmt.Sprint("SEED=", i+1))
		log := &tail{}
		cmd.Stderr = log
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() { // ends with the process
			defer close(read)
			c.read(out)
		}()
		t.Cleanup(func() {
			_ = in.Close() // the host ends by that
			select {
			case <-read:
			case <-time.After(patience):
				_ = cmd.Process.Kill()
				<-read
			}
			_ = cmd.Wait()
			if text := log.String(); text != "" {
				t.Errorf("a host of clients said: %s", text)
			}
		})
		c.hosts = append(c.hosts, &host{in: in})
	}
	return c
}

func (c *clients) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			c.t.Errorf("a host of clients said %.200q: %v", lines.Text(), err)
			continue
		}
		c.take(r)
	}
}

func (c *clients) take(r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changedLocked()
	switch r.T {
	case "sync", "ack":
		if answer := c.answers[r.N]; answer != nil {
			delete(c.answers, r.N)
			answer <- r
		}
		return
	case "failed":
		c.t.Errorf("order %s: %s", r.Order, r.Message)
		return
	}
	if c.observe != nil {
		c.observe(r)
	}
	k := c.byNum[r.K]
	switch r.T {
	case "ticks":
		k.ticks += len(r.I)
		c.history.Received(r.K, r.I...)
		for _, id := range r.I {
			if id.Publisher() == fencePublisher {
				k.fence = id.Seq()
			}
		}
	case "connect":
		c.connectedLocked(k, r)
	case "state":
		k.offset, k.pid, k.transport = r.Offset, r.PID, r.Transport
	case "disconnect":
		k.connected = false
		k.disconnects = append(k.disconnects, r.Reason)
		c.history.Note(r.K, "disconnected: %s", r.Reason)
	case "error":
		k.errors = append(k.errors, r)
	case "event":
		k.events = append(k.events, r)
	}
}

func (c *clients) connectedLocked(k *client, r record) {
	now := time.Now().UnixNano()
	c.history.Note(k.num, "connected as %s, recovered: %v, offset %s", r.ID, r.Recovered, r.Offset)
	if k.connects > 0 && !r.Recovered {
		for _, room := range append(k.rooms, history.Everybody) {
			c.history.Left(k.num, room, k.opened, now)
		}
		k.rooms = nil
	}
	if !r.Recovered {
		c.history.Joined(k.num, history.Everybody, k.opened, now)
	} else {
		k.recoveries++
	}
	k.connects++
	k.connected, k.id, k.pid, k.recovered, k.offset = true, r.ID, r.PID, r.Recovered, r.Offset
}

func (c *clients) changedLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until ok, which is called whenever something has changed, with the lock held.
func (c *clients) await(patience time.Duration, what string, ok func() bool) {
	c.t.Helper()
	if err := c.waitFor(patience, ok); err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

func (c *clients) waitFor(patience time.Duration, ok func() bool) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		done, changed := ok(), c.changed
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-deadline.C:
			return fmt.Errorf("not after %v; %s", patience, c.standing())
		}
	}
}

// standing says how the clients are, those that are connected in one word.
func (c *clients) standing() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text strings.Builder
	connects := make(map[int]int)
	for _, k := range c.byNum {
		if k.connected {
			connects[k.connects]++
			continue
		}
		fmt.Fprintf(&text, "client %d is not connected: connects %d, disconnects %q", k.num, k.connects, k.disconnects)
		if len(k.errors) > 0 {
			fmt.Fprintf(&text, ", %d errors, the last %q", len(k.errors), k.errors[len(k.errors)-1].Message)
		}
		text.WriteString("\n")
	}
	return fmt.Sprintf("connected clients by their number of connections: %v\n%s", connects, &text)
}

// tell gives an order to the host of client k.
func (c *clients) tell(k int, o order) {
	c.t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		c.t.Fatal(err)
	}
	h := c.hosts[k%len(c.hosts)]
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.in.Write(append(data, '\n')); err != nil {
		c.t.Errorf("tell a host of clients: %v", err)
	}
}

// tellAll gives an order that names several clients, to whom it concerns.
func (c *clients) tellAll(nums []int, o order) {
	c.t.Helper()
	for i := range c.hosts {
		var mine []int
		for _, k := range nums {
			if k%len(c.hosts) == i {
				mine = append(mine, k)
			}
		}
		if len(mine) > 0 {
			o["k"] = mine
			c.tell(i, o)
		}
	}
}

// register makes client k known, which is about to connect.
func (c *clients) register(k int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byNum[k] = &client{num: k, opened: time.Now().UnixNano()}
}

// open makes a client connect. It does not wait.
func (c *clients) open(k int, url string, more order) {
	c.t.Helper()
	c.register(k)
	o := order{"c": "open", "k": k, "url": url}
	maps.Copy(o, more)
	c.tell(k, o)
}

// connectAll opens clients 0 … n-1, spread over the nodes, and waits for them.
func (c *clients) connectAll(n int, urls []string, more order) {
	c.t.Helper()
	for i := range c.hosts {
		c.tell(i, order{"c": "nodes", "urls": urls})
	}
	for k := range n {
		c.open(k, urls[k%len(urls)], more)
	}
	c.await(patience, "all clients connect", func() bool { return c.allConnectedLocked() })
}

func (c *clients) allConnectedLocked() bool {
	for _, k := range c.byNum {
		if !k.connected {
			return false
		}
	}
	return true
}

// setNodes tells roaming clients where they may go.
func (c *clients) setNodes(urls []string) {
	c.t.Helper()
	for i := range c.hosts {
		c.tell(i, order{"c": "nodes", "urls": urls})
	}
}

func (c *clients) cut(how string, more order, nums ...int) {
	c.t.Helper()
	o := order{"c": "cut", "how": how}
	maps.Copy(o, more)
	for _, k := range nums {
		c.history.Note(k, "cut (%s)", how)
	}
	c.tellAll(nums, o)
}

// away cuts clients, which do not come back before back.
func (c *clients) away(how string, nums ...int) {
	c.t.Helper()
	c.cut(how, order{"away": true}, nums...)
	c.await(patience, "clients are gone", func() bool {
		for _, k := range nums {
			if c.byNum[k].connected {
				return false
			}
		}
		return true
	})
}

// comeBack lets clients come back at a node and waits for them.
func (c *clients) comeBack(url string, nums ...int) {
	c.t.Helper()
	c.back(url, nums...)
	c.await(patience, "clients are back", func() bool {
		for _, k := range nums {
			if !c.byNum[k].connected {
				return false
			}
		}
		return true
	})
}

// allRecovered fails the test if a client ever came back and was not recovered.
func (c *clients) allRecovered(atLeast int) {
	c.t.Helper()
	back, recovered := c.reconnections()
	if back != recovered || back < atLeast {
		c.t.Errorf("%d reconnections (at least %d wanted), %d recovered", back, atLeast, recovered)
	}
	if back == recovered {
		return
	}
	for _, num := range c.all() {
		if k := c.get(num); k.connected && k.recoveries < k.connects-1 {
			c.t.Logf("client %d: %d connections, %d recovered, the last one refused for %q", num, k.connects, k.recoveries, c.whoami(num).Reason)
		}
	}
}

func (c *clients) back(url string, nums ...int) {
	c.t.Helper()
	c.tellAll(nums, order{"c": "back", "url": url})
}

// get returns what is known of a client.
func (c *clients) get(k int) client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.byNum[k]
}

// async emits an event that asks for an acknowledgement, which it returns a channel for.
func (c *clients) async(k int, event string, args ...any) <-chan record {
	c.t.Helper()
	answer := make(chan record, 1)
	c.mu.Lock()
	c.next++
	n := c.next
	c.answers[n] = answer
	c.mu.Unlock()
	if args == nil {
		args = []any{}
	}
	c.tell(k, order{"c": "emit", "k": k, "n": n, "event": event, "args": args})
	return answer
}

var errNoAnswer = errors.New("no answer")

// call emits an event and returns its acknowledgement's arguments.
func (c *clients) call(k int, event string, args ...any) []json.RawMessage {
	c.t.Helper()
	r, err := settle(c.async(k, event, args...))
	if err != nil {
		c.t.Fatalf("client %d, %s: %v", k, event, err)
	}
	return r.Args
}

func settle(answer <-chan record) (record, error) {
	select {
	case r := <-answer:
		if r.Error != "" {
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-time.After(patience):
		return record{}, errNoAnswer
	}
}

// ask is call for an answer of one argument.
func (c *clients) ask(k int, v any, event string, args ...any) {
	c.t.Helper()
	answer := c.call(k, event, args...)
	if len(answer) != 1 {
		c.t.Fatalf("client %d, %s: answer %s", k, event, answer)
	}
	if err := json.Unmarshal(answer[0], v); err != nil {
		c.t.Fatalf("client %d, %s: answer %s: %v", k, event, answer[0], err)
	}
}

// whoami asks a client's node what it knows of it.
func (c *clients) whoami(k int) (h here) {
	c.t.Helper()
	c.ask(k, &h, "whoami")
	return h
}

// sync waits until the hosts have done everything before, and have told it.
func (c *clients) sync() {
	c.t.Helper()
	for i := range c.hosts {
		answer := make(chan record, 1)
		c.mu.Lock()
		c.next++
		n := c.next
		c.answers[n] = answer
		c.mu.Unlock()
		c.tell(i, order{"c": "sync", "n": n})
		if _, err := settle(answer); err != nil {
			c.t.Fatalf("sync with a host: %v", err)
		}
	}
}

type span struct{ Start, End int64 }

// join puts clients into the rooms that a function gives for each, all at once.
func (c *clients) join(nums []int, rooms func(k int) []string) {
	c.t.Helper()
	waiting := make(map[int]<-chan record)
	for _, k := range nums {
		waiting[k] = c.async(k, "join", rooms(k))
	}
	for k, answer := range waiting {
		r, err := settle(answer)
		var s span
		if err == nil {
			err = json.Unmarshal(r.Args[0], &s)
		}
		if err != nil || s.End == 0 {
			c.t.Fatalf("client %d, join: %v %s", k, err, r.Args)
		}
		c.mu.Lock()
		c.byNum[k].rooms = append(c.byNum[k].rooms, rooms(k)...)
		c.mu.Unlock()
		for _, room := range rooms(k) {
			c.history.Joined(k, room, s.Start, s.End)
		}
	}
}

// settleAll emits the fence from a node and waits until every client has got it, which ends the history.
func (c *clients) settleAll(n *node, patience time.Duration) {
	c.t.Helper()
	fence := 0
	for _, k := range c.all() {
		fence = max(fence, c.get(k).fence)
	}
	fence++
	n.mustPublish(c.history, publication{Publisher: fencePublisher, First: fence, Count: 1})
	err := c.waitFor(patience, func() bool {
		for _, k := range c.byNum {
			if k.fence < fence {
				return false
			}
		}
		return true
	})
	if err == nil {
		return
	}
	missing := 0
	for _, k := range c.all() {
		if c.get(k).fence < fence {
			missing++
		}
	}
	c.t.Errorf("%d of %d clients have not got the last event: %v", missing, len(c.all()), err)
}

func (c *clients) all() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	nums := make([]int, 0, len(c.byNum))
	for k := range c.byNum {
		nums = append(nums, k)
	}
	return nums
}

// judge fails the test if the history is wrong.
func (c *clients) judge() {
	c.t.Helper()
	if v := c.history.Check(); v != nil {
		c.t.Errorf("%v", v)
	}
}

// reconnections returns how often clients came back, and how often they were recovered.
func (c *clients) reconnections() (back, recovered int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.byNum {
		back += max(k.connects-1, 0)
		recovered += k.recoveries
	}
	return back, recovered
}
