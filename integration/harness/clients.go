package harness

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

	"github.com/pgsocket/socketio/integration/checker"
)

// Seed returns the seed of everything random in a test, and logs it. SOCKETIO_TEST_SEED sets it.
func Seed(t testing.TB) uint64 {
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

// NewRand returns a random generator for a seed.
func NewRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// FencePublisher is the publisher of the fence: an event to everybody that is emitted after all others.
const FencePublisher = 99

// Clients are official JavaScript clients, hosted by a few Node.js processes.
type Clients struct {
	T        testing.TB
	History  *checker.History
	hosts    []*host
	OnReport func(r Report) // gets every report but answers, in order; set it before ConnectAll

	mu       sync.Mutex
	changed  chan struct{} // closed at every change
	ByNumber map[int]*Client
	next     int
	answers  map[int]chan Report
}

type host struct {
	mu sync.Mutex
	in io.WriteCloser
}

// A Client is what is known of one client.
type Client struct {
	Number      int
	opened      int64 // when it began to connect, in nanoseconds
	Connected   bool
	ID, PID     string
	Offset      string
	Transport   string // at the last state report
	Recovered   bool   // by its last connection
	Connects    int
	Recoveries  int
	Ticks       int
	Fence       int
	Disconnects []string
	Errors      []Report
	Events      []Report
	Rooms       []string
}

// A Report is one line of a host's output.
type Report struct {
	T         string
	K         int
	N         int
	I         []checker.ID
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
	Command   string
}

// A Command is one line of a host's input; see js/client.mjs.
type Command map[string]any

// NewClients starts the hosts. They end with the test.
func NewClients(t testing.TB, hosts int) *Clients {
	t.Helper()
	if _, err := os.Stat("../js/node_modules/socket.io-client"); err != nil {
		t.Fatal("the official client is not installed: run npm ci in integration/js, or make setup")
	}
	c := &Clients{
		T: t, History: &checker.History{}, changed: make(chan struct{}),
		ByNumber: make(map[int]*Client), answers: make(map[int]chan Report),
	}
	for i := range hosts {
		cmd := exec.Command("node", "../js/client.mjs")
		cmd.Env = append(os.Environ(), fmt.Sprint("SEED=", i+1))
		log := &LogBuffer{}
		cmd.Stderr = log
		in, out := StartPiped(t, cmd)
		read := make(chan struct{})
		go func() { // ends with the process
			defer close(read)
			c.read(out)
		}()
		t.Cleanup(func() {
			_ = in.Close() // the host exits at the end of its input
			select {
			case <-read:
			case <-time.After(MaxWait):
				_ = cmd.Process.Kill()
				<-read
			}
			_ = cmd.Wait()
			if text := log.String(); text != "" {
				t.Errorf("stderr of a client host: %s", text)
			}
		})
		c.hosts = append(c.hosts, &host{in: in})
	}
	return c
}

func (c *Clients) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var r Report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			c.T.Errorf("output of a client host: %.200q: %v", lines.Text(), err)
			continue
		}
		c.handle(r)
	}
}

func (c *Clients) handle(r Report) {
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
		c.T.Errorf("command %s: %s", r.Command, r.Message)
		return
	}
	if c.OnReport != nil {
		c.OnReport(r)
	}
	k := c.ByNumber[r.K]
	switch r.T {
	case "ticks":
		k.Ticks += len(r.I)
		c.History.Received(r.K, r.I...)
		for _, id := range r.I {
			if id.Publisher() == FencePublisher {
				k.Fence = id.Seq()
			}
		}
	case "connect":
		c.connectedLocked(k, r)
	case "state":
		k.Offset, k.PID, k.Transport = r.Offset, r.PID, r.Transport
	case "disconnect":
		k.Connected = false
		k.Disconnects = append(k.Disconnects, r.Reason)
		c.History.Note(r.K, "disconnected: %s", r.Reason)
	case "error":
		k.Errors = append(k.Errors, r)
	case "event":
		k.Events = append(k.Events, r)
	}
}

func (c *Clients) connectedLocked(k *Client, r Report) {
	now := time.Now().UnixNano()
	c.History.Note(k.Number, "connected as %s, recovered: %v, offset %s", r.ID, r.Recovered, r.Offset)
	if k.Connects > 0 && !r.Recovered {
		for _, room := range append(k.Rooms, checker.Everybody) {
			c.History.Left(k.Number, room, k.opened, now)
		}
		k.Rooms = nil
	}
	if !r.Recovered {
		c.History.Joined(k.Number, checker.Everybody, k.opened, now)
	} else {
		k.Recoveries++
	}
	k.Connects++
	k.Connected, k.ID, k.PID, k.Recovered, k.Offset = true, r.ID, r.PID, r.Recovered, r.Offset
}

func (c *Clients) changedLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Await waits until ok returns true, and fails the test after a time. It calls ok after every change, with the lock
// held.
func (c *Clients) Await(patience time.Duration, what string, ok func() bool) {
	c.T.Helper()
	if err := c.WaitFor(patience, ok); err != nil {
		c.T.Fatalf("%s: %v", what, err)
	}
}

// WaitFor is Await with an error instead of a failed test.
func (c *Clients) WaitFor(patience time.Duration, ok func() bool) error {
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
			return fmt.Errorf("not within %v; %s", patience, c.summary())
		}
	}
}

// summary describes the clients: one count for those that are connected, one line for each of the others.
func (c *Clients) summary() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text strings.Builder
	connects := make(map[int]int)
	for _, k := range c.ByNumber {
		if k.Connected {
			connects[k.Connects]++
			continue
		}
		fmt.Fprintf(&text, "client %d is not connected: connects %d, disconnects %q", k.Number, k.Connects, k.Disconnects)
		if len(k.Errors) > 0 {
			fmt.Fprintf(&text, ", %d errors, the last %q", len(k.Errors), k.Errors[len(k.Errors)-1].Message)
		}
		text.WriteString("\n")
	}
	return fmt.Sprintf("connected clients by their number of connections: %v\n%s", connects, &text)
}

// Send sends a command to the host of client k.
func (c *Clients) Send(k int, o Command) {
	c.T.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		c.T.Fatal(err)
	}
	h := c.hosts[k%len(c.hosts)]
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.in.Write(append(data, '\n')); err != nil {
		c.T.Errorf("write to a client host: %v", err)
	}
}

// SendAll sends a command for several clients to their hosts.
func (c *Clients) SendAll(nums []int, o Command) {
	c.T.Helper()
	for i := range c.hosts {
		var mine []int
		for _, k := range nums {
			if k%len(c.hosts) == i {
				mine = append(mine, k)
			}
		}
		if len(mine) > 0 {
			o["k"] = mine
			c.Send(i, o)
		}
	}
}

// Register adds client k, which is about to connect.
func (c *Clients) Register(k int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ByNumber[k] = &Client{Number: k, opened: time.Now().UnixNano()}
}

// Open makes a client connect. It does not wait.
func (c *Clients) Open(k int, url string, more Command) {
	c.T.Helper()
	c.Register(k)
	o := Command{"c": "open", "k": k, "url": url}
	maps.Copy(o, more)
	c.Send(k, o)
}

// ConnectAll connects clients 0 to n-1, spread over the nodes, and waits for them.
func (c *Clients) ConnectAll(n int, urls []string, more Command) {
	c.T.Helper()
	for i := range c.hosts {
		c.Send(i, Command{"c": "nodes", "urls": urls})
	}
	for k := range n {
		c.Open(k, urls[k%len(urls)], more)
	}
	c.Await(MaxWait, "all clients connect", func() bool { return c.AllConnectedLocked() })
}

// AllConnectedLocked reports whether every client is connected.
func (c *Clients) AllConnectedLocked() bool {
	for _, k := range c.ByNumber {
		if !k.Connected {
			return false
		}
	}
	return true
}

// SetNodes sets the nodes that roaming clients choose from.
func (c *Clients) SetNodes(urls []string) {
	c.T.Helper()
	for i := range c.hosts {
		c.Send(i, Command{"c": "nodes", "urls": urls})
	}
}

// Cut breaks the connections of clients: how is "reset", "close" or "half"; see js/client.mjs.
func (c *Clients) Cut(how string, more Command, nums ...int) {
	c.T.Helper()
	o := Command{"c": "cut", "how": how}
	maps.Copy(o, more)
	for _, k := range nums {
		c.History.Note(k, "cut (%s)", how)
	}
	c.SendAll(nums, o)
}

// CutAndHold breaks the connections of clients, which stay disconnected until Reconnect or StartReconnect.
func (c *Clients) CutAndHold(how string, nums ...int) {
	c.T.Helper()
	c.Cut(how, Command{"away": true}, nums...)
	c.Await(MaxWait, "clients are disconnected", func() bool {
		for _, k := range nums {
			if c.ByNumber[k].Connected {
				return false
			}
		}
		return true
	})
}

// Reconnect lets clients connect to a node again, and waits for them.
func (c *Clients) Reconnect(url string, nums ...int) {
	c.T.Helper()
	c.StartReconnect(url, nums...)
	c.Await(MaxWait, "clients are connected again", func() bool {
		for _, k := range nums {
			if !c.ByNumber[k].Connected {
				return false
			}
		}
		return true
	})
}

// CheckAllRecovered fails the test if a client reconnected without recovery, or if there were fewer reconnections
// than atLeast.
func (c *Clients) CheckAllRecovered(atLeast int) {
	c.T.Helper()
	back, recovered := c.Reconnections()
	if back != recovered || back < atLeast {
		c.T.Errorf("%d reconnections (at least %d wanted), %d recovered", back, atLeast, recovered)
	}
	if back == recovered {
		return
	}
	for _, num := range c.Numbers() {
		if k := c.Get(num); k.Connected && k.Recoveries < k.Connects-1 {
			c.T.Logf("client %d: %d connections, %d recovered, the last one not, because %q", num, k.Connects, k.Recoveries, c.WhoAmI(num).Reason)
		}
	}
}

// StartReconnect lets clients connect again, to a node of their choice if url is empty. It does not wait.
func (c *Clients) StartReconnect(url string, nums ...int) {
	c.T.Helper()
	c.SendAll(nums, Command{"c": "back", "url": url})
}

// Get returns what is known of a client.
func (c *Clients) Get(k int) Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.ByNumber[k]
}

// CallAsync emits an event with an acknowledgement, and returns a channel for it.
func (c *Clients) CallAsync(k int, event string, args ...any) <-chan Report {
	c.T.Helper()
	answer := make(chan Report, 1)
	c.mu.Lock()
	c.next++
	n := c.next
	c.answers[n] = answer
	c.mu.Unlock()
	if args == nil {
		args = []any{}
	}
	c.Send(k, Command{"c": "emit", "k": k, "n": n, "event": event, "args": args})
	return answer
}

var errNoAnswer = errors.New("no answer")

// Call emits an event and returns the arguments of its acknowledgement.
func (c *Clients) Call(k int, event string, args ...any) []json.RawMessage {
	c.T.Helper()
	r, err := waitAnswer(c.CallAsync(k, event, args...))
	if err != nil {
		c.T.Fatalf("client %d, %s: %v", k, event, err)
	}
	return r.Args
}

// waitAnswer waits for a host's answer.
func waitAnswer(answer <-chan Report) (Report, error) {
	select {
	case r := <-answer:
		if r.Error != "" {
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-time.After(MaxWait):
		return Report{}, errNoAnswer
	}
}

// callInto is Call for an acknowledgement of one argument, which it decodes into v.
func (c *Clients) callInto(k int, v any, event string, args ...any) {
	c.T.Helper()
	answer := c.Call(k, event, args...)
	if len(answer) != 1 {
		c.T.Fatalf("client %d, %s: answer %s", k, event, answer)
	}
	if err := json.Unmarshal(answer[0], v); err != nil {
		c.T.Fatalf("client %d, %s: answer %s: %v", k, event, answer[0], err)
	}
}

// WhoAmI returns the state of a client's socket at its node.
func (c *Clients) WhoAmI(k int) (h SocketState) {
	c.T.Helper()
	c.callInto(k, &h, "whoami")
	return h
}

// WaitDelivered waits until the hosts have executed all commands, and the reports have been read.
func (c *Clients) WaitDelivered() {
	c.T.Helper()
	for i := range c.hosts {
		answer := make(chan Report, 1)
		c.mu.Lock()
		c.next++
		n := c.next
		c.answers[n] = answer
		c.mu.Unlock()
		c.Send(i, Command{"c": "sync", "n": n})
		if _, err := waitAnswer(answer); err != nil {
			c.T.Fatalf("sync with a host: %v", err)
		}
	}
}

// A Span is the time in which something took effect, in nanoseconds of the machine's clock.
type Span struct{ Start, End int64 }

// Join puts clients into the rooms that a function returns for each, all at once.
func (c *Clients) Join(nums []int, rooms func(k int) []string) {
	c.T.Helper()
	waiting := make(map[int]<-chan Report)
	for _, k := range nums {
		waiting[k] = c.CallAsync(k, "join", rooms(k))
	}
	for k, answer := range waiting {
		r, err := waitAnswer(answer)
		var s Span
		if err == nil {
			err = json.Unmarshal(r.Args[0], &s)
		}
		if err != nil || s.End == 0 {
			c.T.Fatalf("client %d, join: %v %s", k, err, r.Args)
		}
		c.mu.Lock()
		c.ByNumber[k].Rooms = append(c.ByNumber[k].Rooms, rooms(k)...)
		c.mu.Unlock()
		for _, room := range rooms(k) {
			c.History.Joined(k, room, s.Start, s.End)
		}
	}
}

// AwaitDelivery emits the fence from a node and waits until every client has received it. Then the history is
// complete.
func (c *Clients) AwaitDelivery(n *Node, patience time.Duration) {
	c.T.Helper()
	fence := 0
	for _, k := range c.Numbers() {
		fence = max(fence, c.Get(k).Fence)
	}
	fence++
	n.MustPublish(c.History, Publication{Publisher: FencePublisher, First: fence, Count: 1})
	err := c.WaitFor(patience, func() bool {
		for _, k := range c.ByNumber {
			if k.Fence < fence {
				return false
			}
		}
		return true
	})
	if err == nil {
		return
	}
	missing := 0
	for _, k := range c.Numbers() {
		if c.Get(k).Fence < fence {
			missing++
		}
	}
	c.T.Errorf("%d of %d clients did not receive the fence: %v", missing, len(c.Numbers()), err)
}

// Numbers returns the numbers of all clients.
func (c *Clients) Numbers() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	nums := make([]int, 0, len(c.ByNumber))
	for k := range c.ByNumber {
		nums = append(nums, k)
	}
	return nums
}

// Check fails the test if the history violates a promise.
func (c *Clients) Check() {
	c.T.Helper()
	if v := c.History.Check(); v != nil {
		c.T.Errorf("%v", v)
	}
}

// Reconnections returns how often clients reconnected, and how often they were recovered then.
func (c *Clients) Reconnections() (back, recovered int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.ByNumber {
		back += max(k.Connects-1, 0)
		recovered += k.Recoveries
	}
	return back, recovered
}

// AwaitTransport waits until all clients use the transport.
func (c *Clients) AwaitTransport(name string) {
	c.T.Helper()
	if !Eventually(MaxWait, func() bool {
		c.SendAll(c.Numbers(), Command{"c": "state"})
		c.WaitDelivered()
		for _, k := range c.Numbers() {
			if c.Get(k).Transport != name {
				return false
			}
		}
		return true
	}) {
		c.T.Fatalf("not all clients use %s", name)
	}
}

// ConnectedTimesLocked reports whether every client is connected, for at least the nth time.
func (c *Clients) ConnectedTimesLocked(n int) bool {
	for _, k := range c.ByNumber {
		if !k.Connected || k.Connects < n {
			return false
		}
	}
	return true
}

// AwaitNode waits until all clients are connected to a node.
func (c *Clients) AwaitNode(n *Node) {
	c.T.Helper()
	ok := Eventually(MaxWait, func() bool {
		here := make(map[string]bool)
		for _, s := range n.Sockets() {
			here[s.ID] = true
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, k := range c.ByNumber {
			if !k.Connected || !here[k.ID] {
				return false
			}
		}
		return true
	})
	if !ok {
		c.T.Fatalf("not all clients are connected to node %s: %s", n.Name, c.summary())
	}
}

// FetchOffset returns the offset that a client would recover with.
func (c *Clients) FetchOffset(k int) string {
	c.T.Helper()
	c.Send(k, Command{"c": "state", "k": k})
	c.WaitDelivered()
	return c.Get(k).Offset
}
