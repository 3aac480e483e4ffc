//go:build unix

package pgadapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// This file runs the suite against nodes in other processes, which can be killed and
// frozen. Each process runs this test binary; the two processes use net/rpc over a pair of
// sockets.

// processLease is longer than a slow machine delays a node.
const processLease = 3 * time.Second

func TestLog_Conformance_Processes(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, func(t *testing.T) adaptertest.Log {
		t.Helper()
		b := newBench(t)
		return adaptertest.Log{
			Nodes: 4,
			Node:  func(t *testing.T) adapter.Adapter { return startProcess(t, b) },
			Stall: b.stall,
			Close: func(t *testing.T, a adapter.Adapter) { a.(*process).close(t) },
			Kill:  func(t *testing.T, a adapter.Adapter) { a.(*process).signal(t, syscall.SIGKILL) },
			Freeze: func(t *testing.T, a adapter.Adapter) func() {
				a.(*process).signal(t, syscall.SIGSTOP)
				return func() { a.(*process).signal(t, syscall.SIGCONT) }
			},
			MaxEnvelope: 2 << 20,
		}
	})
}

// TestNodeProcess is the program of the other process.
func TestNodeProcess(t *testing.T) { //nolint:paralleltest // alone in its process
	dsn := os.Getenv("PGADAPTER_NODE_DSN")
	if dsn == "" {
		t.Skip("run by TestLog_Conformance_Processes")
	}
	db, err := Open(t.Context(), dsn, &Options{
		Schema: os.Getenv("PGADAPTER_NODE_SCHEMA"), Lease: processLease,
		QueueEvents: 3000, MaxEnvelope: 2 << 20, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(os.NewFile(3, "parent"))
	if err != nil {
		t.Fatal(err)
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Node", &Remote{db: db, told: make(chan struct{}, 1), closed: make(chan struct{})}); err != nil {
		t.Fatal(err)
	}
	server.ServeConn(conn) // until the parent closes it
}

// Remote is the DB as the other process calls it. Its methods are exported for net/rpc.
type Remote struct {
	db *DB

	mu       sync.Mutex
	receipts []*adapter.Receipt
	news     News
	handed   int
	told     chan struct{}
	closed   chan struct{}
	id       string
}

// News is what reached the node since the last call of Next.
type News struct {
	Deliveries []adapter.Delivery
	Resets     []string
}

// A Call is the arguments of any call, and an Outcome its results.
type Call struct {
	Left     time.Duration // of the caller's ctx; zero for no deadline
	Envelope *adapter.Envelope
	Receipt  int
	From, To adapter.Position
	ID       string

	Namespace, Room string
}

// An Outcome is the results of any call.
type Outcome struct {
	Err     string
	Kind    int // index of its sentinel in errorKinds, from one; zero for none
	Receipt int
	Taken   bool // withdrawn
	Offset  adapter.Offset
	Nodes   []adapter.Node
	News    News
	Past    []adapter.PastDelivery
	Handed  int // deliveries that have reached the node so far
}

var errEnded = errors.New("the caller's ctx ended")

func errorKinds() []error {
	return []error{adapter.ErrQueueFull, adapter.ErrTooLarge, adapter.ErrTrimmed, adapter.ErrClosed, errEnded}
}

func (o *Outcome) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	o.Err = err.Error()
	for i, kind := range errorKinds() {
		if errors.Is(err, kind) || kind == errEnded && ctx.Err() != nil { //nolint:errorlint // the list's own
			o.Kind = i + 1
			break
		}
	}
	return nil
}

func (c *Call) ctx() (context.Context, context.CancelFunc) {
	if c.Left == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), c.Left)
}

// A remoteLocal is the Local of the node, which keeps deliveries for the other process.
type remoteLocal struct{ r *Remote }

func (l *remoteLocal) ID() string { return l.r.id }

func (l *remoteLocal) Deliver(ds []adapter.Delivery) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.r.news.Deliveries = append(l.r.news.Deliveries, ds...)
	l.r.handed += len(ds)
	wake(l.r.told)
}

func (l *remoteLocal) LogTruncated(adapter.Offset) {}

func (l *remoteLocal) LogGap(_ adapter.Offset, cause error) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.r.news.Resets = append(l.r.news.Resets, cause.Error())
	wake(l.r.told)
}

// Bind is called by the other process.
func (r *Remote) Bind(c Call, o *Outcome) (err error) {
	r.id = c.ID
	o.Offset, err = r.db.Bind(&remoteLocal{r})
	return o.fail(context.Background(), err)
}

// Publish is called by the other process.
func (r *Remote) Publish(c Call, o *Outcome) error {
	ctx, cancel := c.ctx()
	defer cancel()
	receipt, err := r.db.Publish(ctx, c.Envelope)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receipts = append(r.receipts, receipt)
	o.Receipt = len(r.receipts) - 1
	return o.fail(ctx, err)
}

func (r *Remote) receipt(i int) *adapter.Receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.receipts[i]
}

// Wait is called by the other process.
func (r *Remote) Wait(c Call, o *Outcome) (err error) {
	receipt := r.receipt(c.Receipt)
	err = receipt.Wait(context.Background())
	o.Offset = receipt.Offset()
	return o.fail(context.Background(), err)
}

// Withdraw is called by the other process.
func (r *Remote) Withdraw(c Call, o *Outcome) error {
	o.Taken = r.receipt(c.Receipt).Withdraw()
	return nil
}

// WaitDelivered is called by the other process.
func (r *Remote) WaitDelivered(c Call, o *Outcome) error {
	ctx, cancel := c.ctx()
	defer cancel()
	err := r.db.WaitDelivered(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	o.Handed = r.handed
	return o.fail(ctx, err)
}

// Read is called by the other process.
func (r *Remote) Read(c Call, o *Outcome) error {
	for ds, err := range r.db.Read(context.Background(), c.From, c.To) {
		if err != nil {
			return o.fail(context.Background(), err)
		}
		o.News.Deliveries = append(o.News.Deliveries, ds...)
	}
	return nil
}

// ReadRoom is called by the other process.
func (r *Remote) ReadRoom(c Call, o *Outcome) error {
	for d, err := range r.db.ReadRoom(context.Background(), c.Namespace, c.Room, c.To) {
		if err != nil {
			return o.fail(context.Background(), err)
		}
		o.Past = append(o.Past, d)
	}
	return nil
}

// Nodes is called by the other process.
func (r *Remote) Nodes(_ Call, o *Outcome) (err error) {
	o.Nodes, err = r.db.Nodes(context.Background())
	return o.fail(context.Background(), err)
}

// Next is called by the other process, and waits for news.
func (r *Remote) Next(_ Call, o *Outcome) error {
	select {
	case <-r.told:
	case <-r.closed:
		return adapter.ErrClosed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o.News, r.news = r.news, News{}
	return nil
}

// Close is called by the other process.
func (r *Remote) Close(_ Call, o *Outcome) error {
	err := r.db.Close(context.Background())
	close(r.closed)
	return o.fail(context.Background(), err)
}

// A process is a node in another process. It implements adapter.Adapter.
type process struct {
	child  *exec.Cmd
	client *rpc.Client
	local  adapter.Local
	closed bool

	mu     sync.Mutex
	handed int // deliveries that local has received
	moved  *sync.Cond
}

func startProcess(t *testing.T, b *bench) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "child"), os.NewFile(uintptr(pair[1]), "parent")
	syscall.CloseOnExec(pair[0])
	p := &process{child: exec.Command(exe, "-test.run=^TestNodeProcess$", "-test.count=1")}
	p.moved = sync.NewCond(&p.mu)
	p.child.Env = append(os.Environ(), "PGADAPTER_NODE_DSN="+b.dsn, "PGADAPTER_NODE_SCHEMA="+b.schema)
	p.child.ExtraFiles = []*os.File{theirs}
	var output bytes.Buffer
	p.child.Stdout, p.child.Stderr = &output, &output
	if err := p.child.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = ours.Close(), theirs.Close() // both sides use copies
	p.client = rpc.NewClient(conn)
	t.Cleanup(func() {
		_ = p.child.Process.Signal(syscall.SIGCONT) // it may be dead, or frozen by a test that failed
		p.close(t)
		_ = p.client.Close()
		if err := p.child.Wait(); t.Failed() { // an error also after a kill
			t.Logf("the node's process: %v\n%s", err, output.Bytes())
		}
	})
	return p
}

func (p *process) close(t *testing.T) {
	t.Helper()
	if p.closed {
		return
	}
	p.closed = true
	var o Outcome
	if err := p.client.Call("Node.Close", Call{}, &o); err != nil || o.Err != "" {
		t.Errorf("Close: %v %s", err, o.Err)
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.child.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	p.closed = p.closed || s == syscall.SIGKILL
}

// call calls the other process and restores the sentinels of its errors.
func (p *process) call(ctx context.Context, method string, c Call) (*Outcome, error) {
	if deadline, ok := ctx.Deadline(); ok {
		c.Left = max(time.Until(deadline), 1)
	}
	o := &Outcome{}
	if err := p.client.Call("Node."+method, c, o); err != nil {
		return o, err
	}
	if o.Err == "" {
		return o, nil
	}
	err := errors.New(o.Err)
	if o.Kind > 0 {
		err = fmt.Errorf("%w: %w", errorKinds()[o.Kind-1], err)
	}
	if c.Left > 0 && (errors.Is(err, adapter.ErrQueueFull) || errors.Is(err, errEnded)) {
		<-ctx.Done()
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return o, err
}

func (p *process) Bind(l adapter.Local) (adapter.Offset, error) {
	o, err := p.call(context.Background(), "Bind", Call{ID: l.ID()})
	if err == nil {
		p.local = l
		go p.pump() // ends with its connection
	}
	return o.Offset, err
}

func (p *process) pump() {
	for {
		o, err := p.call(context.Background(), "Next", Call{})
		if err != nil {
			return // closed, or killed
		}
		if len(o.News.Deliveries) > 0 {
			p.local.Deliver(o.News.Deliveries)
		}
		p.mu.Lock()
		p.handed += len(o.News.Deliveries)
		p.mu.Unlock()
		p.moved.Broadcast()
		for _, cause := range o.News.Resets {
			p.local.LogGap(adapter.Offset{}, errors.New(cause))
		}
	}
}

func (p *process) Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	o, err := p.call(ctx, "Publish", Call{Envelope: e})
	if err != nil {
		return nil, err
	}
	c := Call{Receipt: o.Receipt}
	outcome := adapter.NewOutcome()
	outcome.Withdraw = func(int) bool {
		o, err := p.call(context.Background(), "Withdraw", c)
		return err == nil && o.Taken
	}
	go func() { // ends when the receipt completes, or with the connection
		o, err := p.call(context.Background(), "Wait", c)
		if err != nil {
			outcome.Complete(err)
			return
		}
		outcome.CompleteAt(o.Offset)
	}()
	return outcome.Receipt(0), nil
}

// WaitDelivered also waits until the deliveries have reached this process.
func (p *process) WaitDelivered(ctx context.Context) error {
	o, err := p.call(ctx, "WaitDelivered", Call{})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.handed < o.Handed {
		p.moved.Wait()
	}
	return nil
}

func (p *process) Read(ctx context.Context, from, to adapter.Position) iter.Seq2[[]adapter.Delivery, error] {
	return func(yield func([]adapter.Delivery, error) bool) {
		o, err := p.call(ctx, "Read", Call{From: from, To: to})
		if err != nil || len(o.News.Deliveries) > 0 {
			yield(o.News.Deliveries, err)
		}
	}
}

func (p *process) ReadRoom(ctx context.Context, namespace, room string, to adapter.Position) iter.Seq2[adapter.PastDelivery, error] {
	return func(yield func(adapter.PastDelivery, error) bool) {
		o, err := p.call(ctx, "ReadRoom", Call{Namespace: namespace, Room: room, To: to})
		for _, d := range o.Past {
			if !yield(d, nil) {
				return
			}
		}
		if err != nil {
			yield(adapter.PastDelivery{}, err)
		}
	}
}

func (p *process) Nodes(ctx context.Context) ([]adapter.Node, error) {
	o, err := p.call(ctx, "Nodes", Call{})
	return o.Nodes, err
}
