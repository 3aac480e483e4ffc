package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// Requests between nodes and their answers go through the log: so they may be of
// any size, are ordered with the events, and are trimmed with them.
//
//	Request ─► log ─► every node, at that position: its members of the audience
//	                    │
//	                    └► Answer, Answer, … the last one is marked as done
//
// The requesting node reads the answers from the log at its own pace, and keeps
// none of them. The nodes that have to answer are those that were bound before the
// request; the wait ends when each of them is done or gone.

// ErrNodeGone reports that a node left the cluster, or was declared dead, before
// it had answered.
var ErrNodeGone = errors.New("node left the cluster")

// A NodeError is the error of one node of a request to several.
type NodeError struct {
	ID   string // see [Server.Nodes]
	Name string
	Err  error // ErrNodeGone, or the cause of ctx
}

// Error implements error.
func (e *NodeError) Error() string { return fmt.Sprintf("node %s: %v", e.Name, e.Err) }

// Unwrap returns Err.
func (e *NodeError) Unwrap() error { return e.Err }

// A requestKind is what a request asks for.
type requestKind string

const (
	requestCall        requestKind = "call"   // the answers of the sockets of the audience, or of one Socket
	requestFetch       requestKind = "fetch"  // the sockets of the audience
	requestServerEvent requestKind = "notice" // nothing: a server-side event
	requestServer      requestKind = "server" // the answer of the server's handler
)

// A request is the head of the payload of an adapter.Request; its body follows.
type request struct {
	Node string        `json:"node"` // that asks
	ID   uint64        `json:"id"`
	Kind requestKind   `json:"kind"`
	Wait time.Duration `json:"wait"` // how long the node waits for answers

	// Socket limits a call to the socket with this id. The audience, which is the room of the id, may include others: an
	// Audience.Join can put them there. A node of an earlier version asks these too.
	Socket SocketID `json:"socket,omitempty"`

	trace string // the TraceContext of the record, which the answers carry as well
}

// A response is the head of the payload of an adapter.Answer; its body follows.
type response struct {
	Node   string     `json:"node"`        // that answers
	ID     uint64     `json:"id"`          // of the request
	Number uint64     `json:"n,omitempty"` // of the node's answers to the request, from 1; zero of an earlier version
	Done   bool       `json:"done,omitempty"`
	Asked  []SocketID `json:"asked,omitempty"` // call: sockets that were asked; sent first
	All    bool       `json:"all,omitempty"`   // call: Asked is complete with this one
	From   SocketID   `json:"from,omitempty"`  // call: the socket that answered; fetch: the only socket in the body, if that is large
	Lost   Reason     `json:"lost,omitempty"`  // call: the socket was disconnected before it answered
	Error  *Error     `json:"error,omitempty"` // in place of a body

	body        []byte
	attachments [][]byte
}

// joinHead returns the payload of a head and a body.
func joinHead(head any, body []byte) ([]byte, error) {
	payload, err := marshalJSON(head)
	if err != nil {
		return nil, err
	}
	return append(append(payload, '\n'), body...), nil
}

// cutHead decodes the head of a payload and returns its body.
func cutHead(payload []byte, head any) ([]byte, error) {
	line, body, _ := bytes.Cut(payload, []byte{'\n'}) // JSON has no line break of its own
	if err := json.Unmarshal(line, head); err != nil {
		return nil, fmt.Errorf("head of a request: %w", err)
	}
	return body, nil
}

// A pendingCall is a request of this node that waits for answers.
type pendingCall struct {
	wakeup   chan struct{}    // signalled when the log has something for it
	timeline int              // of the hub when the call began
	read     adapter.Position // up to where the answers were read; guarded by the hub's lock, like upTo
	upTo     adapter.Position // up to where there is something
}

func (q *pendingCall) wakeLocked(p adapter.Position) {
	q.upTo = p
	select {
	case q.wakeup <- struct{}{}:
	default:
	}
}

// responseIn returns the answer in a record of the log, if it is one to this node. It
// ignores one that it cannot decode, of a later version: then the call times out.
func (h *hub) responseIn(d *adapter.Delivery) (*response, bool) {
	if !d.Answers(h.id) {
		return nil, false
	}
	var a response
	body, err := cutHead(d.Payload, &a)
	a.body, a.attachments = body, d.Attachments
	return &a, err == nil
}

// responseLocked wakes the call that an answer in the log belongs to.
func (h *hub) responseLocked(d *adapter.Delivery) {
	if a, ours := h.responseIn(d); ours {
		if q, waiting := h.pendingCalls[a.ID]; waiting {
			q.wakeLocked(d.Offset.Position)
		}
	}
}

// nodeLeftLocked wakes all calls: they may wait for the node that left.
func (h *hub) nodeLeftLocked(d *adapter.Delivery) {
	for _, q := range h.pendingCalls {
		q.wakeLocked(d.Offset.Position)
	}
}

func (h *hub) open(id uint64) *pendingCall {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &pendingCall{wakeup: make(chan struct{}, 1), timeline: h.timeline, read: h.cursor.Position}
	h.pendingCalls[id] = q
	return q
}

func (h *hub) shut(id uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pendingCalls, id)
}

// next returns the range of the log that may have answers, and counts it as read.
func (h *hub) next(q *pendingCall) (from, to adapter.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from = q.read
	q.read = max(q.read, q.upTo)
	return from, q.read
}

// beginAt sets the position of the request, after which the answers of a call begin. If the log has lost its end since the
// call began, the position may be lost as well, or belong to the request that was sent again, behind answers to it: then they
// begin where the call or the new end began.
func (h *hub) beginAt(q *pendingCall, p adapter.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q.timeline == h.timeline {
		q.read = p
	}
}

// A clusterCall is a request to the cluster, on the requesting node.
type clusterCall struct {
	server       *Server
	id           uint64
	open         map[string]adapter.Node // nodes that have not finished
	acknowledged map[string]bool         // nodes that have reported which sockets they asked
	taken        map[string]uint64       // by node, the Number of the last answer

	// take receives the answers as they arrive, and a *NodeError for every node that
	// is gone, until it returns false.
	take func(*response, error) bool
}

// errEnough ends a cluster call whose caller wants no more answers.
var errEnough = errors.New("enough")

// errLoopEnded is the error of the span of a call whose caller panicked or ended its goroutine.
var errLoopEnded = errors.New("the loop over the answers did not return")

func (s *Server) newClusterCall(take func(*response, error) bool) *clusterCall {
	return &clusterCall{server: s, id: s.requests.Add(1), acknowledged: make(map[string]bool), taken: make(map[string]uint64), take: take}
}

// run sends the request, and returns nil when all nodes are done or gone, or when
// take has returned false.
func (v *clusterCall) run(ctx context.Context, r route, e requestKind, p payload) error {
	if r.err != nil || r.nobody() {
		return r.err
	}
	kind := SpanCall
	if e == requestFetch {
		kind = SpanFetch
	}
	ctx, span := r.tracing.startEvent(ctx, TraceSpan{Kind: kind, Namespace: r.namespace}, p.json)
	err := errLoopEnded // if take, which is the caller's loop, does not return
	defer func() { span.end(err) }()
	err = v.ask(ctx, r, request{Node: v.server.hub.id, ID: v.id, Kind: e, trace: span.carried()}, p)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

func (v *clusterCall) ask(ctx context.Context, r route, head request, p payload) error {
	h := v.server.hub
	if deadline, ok := ctx.Deadline(); ok {
		head.Wait = time.Until(deadline)
	}
	if r.local {
		return v.askHere(ctx, r, head, p)
	}
	q := h.open(v.id)
	defer h.shut(v.id)
	at, err := r.request(ctx, head, p)
	if err != nil {
		return err
	}
	nodes, err := v.server.opts.Adapter.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("list the nodes of the cluster: %w", err)
	}
	v.open = make(map[string]adapter.Node, len(nodes))
	for _, n := range nodes {
		if n.StartPosition < at.Position && (n.ID != h.id || head.Kind != requestServer) {
			v.open[n.ID] = n
		}
	}
	h.beginAt(q, at.Position)
	return v.collect(ctx, q)
}

// collect reads the answers in the log.
func (v *clusterCall) collect(ctx context.Context, q *pendingCall) error {
	for {
		from, to := v.server.hub.next(q)
		if err := v.read(ctx, from, to); err != nil {
			return err
		}
		if len(v.open) == 0 {
			return nil
		}
		select {
		case <-q.wakeup:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// askHere asks this node only, without the log.
func (v *clusterCall) askHere(ctx context.Context, r route, head request, p payload) error {
	h := v.server.hub
	h.mu.Lock()
	work := h.responderLocked(head, &adapter.Delivery{
		Envelope: &adapter.Envelope{Namespace: r.namespace, Audience: r.audience, Attachments: p.attachments}, Offset: h.cursor,
	}, p.json)
	h.mu.Unlock()
	v.open = make(map[string]adapter.Node) // only this node was asked
	return work(ctx, func(_ context.Context, a response) error { return v.yield(&a, nil) })
}

// request publishes a request and returns its offset in the log.
func (r route) request(ctx context.Context, head request, p payload) (adapter.Offset, error) {
	body, err := joinHead(head, p.json)
	if err != nil {
		return adapter.Offset{}, err
	}
	return r.publish(ctx, &adapter.Envelope{
		Kind: adapter.Request, Namespace: r.namespace, Audience: r.audience, Payload: body, Attachments: p.attachments,
		TraceContext: head.trace,
	}, true)
}

// read reads the answers to the call in (from, to].
func (v *clusterCall) read(ctx context.Context, from, to adapter.Position) error {
	for batch, err := range v.server.opts.Adapter.Read(ctx, from, to) {
		if err != nil {
			return fmt.Errorf("read answers: %w", err)
		}
		for i := range batch {
			if err := v.onDelivery(&batch[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *clusterCall) onDelivery(d *adapter.Delivery) error {
	if d.Kind == adapter.NodeLeft {
		return v.nodeLost(string(d.Payload))
	}
	a, ours := v.server.hub.responseIn(d)
	if !ours || a.ID != v.id || a.Number != 0 && a.Number <= v.taken[a.Node] {
		return nil // also if the log has it again, after it lost its end
	}
	v.taken[a.Node] = a.Number
	if a.Done {
		delete(v.open, a.Node)
	}
	if a.All {
		v.acknowledged[a.Node] = true
	}
	return v.yield(a, nil)
}

// nodeLost records that a node is gone.
func (v *clusterCall) nodeLost(id string) error {
	n, waiting := v.open[id]
	if !waiting {
		return nil
	}
	delete(v.open, id)
	return v.yield(nil, &NodeError{ID: id, Name: n.Name, Err: ErrNodeGone})
}

func (v *clusterCall) yield(a *response, err error) error {
	if !v.take(a, err) {
		return errEnough
	}
	return nil
}

// finish yields the errors of a cluster call that ended with err: after the end of ctx
// one error for each node without a usable answer.
func (v *clusterCall) finish(ctx context.Context, err error, yield func(error)) {
	if err == nil {
		return
	}
	if ctx.Err() == nil || v.open == nil {
		yield(err)
		return
	}
	for id, n := range v.open {
		if !v.acknowledged[id] {
			yield(&NodeError{ID: id, Name: n.Name, Err: context.Cause(ctx)})
		}
	}
}

// deadlined gives ctx the deadline of Options.AckTimeout, unless it has one.
func (s *Server) deadlined(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.opts.AckTimeout)
}

// Nodes returns the nodes of the cluster that serve clients, this one first.
func (s *Server) Nodes(ctx context.Context) ([]adapter.Node, error) { return s.opts.Adapter.Nodes(ctx) }
