package socketio

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
)

// A ServerEvent is an event between the servers of a cluster, which clients do not
// receive: Socket.IO's serverSideEmit, typed. The payload is as for an [Event].
type ServerEvent[T any] string

// On registers the handler of the event on this node. From is the ID of the node
// that emitted it, see [Server.Nodes]. The events of a namespace are handled one
// at a time, in the order of the log, also while requests are; an error is logged.
func (e ServerEvent[T]) On(n *Namespace, h func(ctx context.Context, from string, v T) error) {
	mustTravel[T](string(e))
	mustExist(h, "handler for server-side event "+string(e))
	n.handleServer(string(e), func(ctx context.Context, from string, args []json.RawMessage, attachments [][]byte) (payload, error) {
		var v T
		if err := decodePayload(args, attachments, &v); err != nil {
			return payload{}, badPayload(string(e), err)
		}
		return payload{}, h(ctx, from, v)
	})
}

// Emit emits the event to every other node of the cluster. It returns nil when it
// is in the log: every node that serves clients then, and continues to, handles it.
func (e ServerEvent[T]) Emit(ctx context.Context, to ServerTarget, v T) error {
	p, err := encodeEvent(string(e), v)
	if err != nil {
		return err
	}
	r := to.servers()
	head := request{ID: rand.Uint64(), Kind: requestServerEvent}
	if r.server != nil {
		head.Node = r.server.hub.id
	}
	ctx, span := r.tracing.startEvent(ctx, TraceSpan{Kind: SpanEmit, Namespace: r.namespace}, p.json)
	head.trace = span.carried()
	at, err := r.request(ctx, head, p)
	span.endAt(at.Position, err)
	return err
}

// A ServerRequest is a [ServerEvent] that every other node answers.
type ServerRequest[Q, R any] string

// On registers the handler of the request on this node. Requests are handled
// concurrently, at most 64 at a time: further ones wait, and so do the events
// behind them in the log. An *Error is the answer of this node; for any other error the
// answer is the code "internal".
func (q ServerRequest[Q, R]) On(n *Namespace, h func(ctx context.Context, from string, v Q) (R, error)) {
	mustTravel[Q](string(q))
	mustTravel[R](string(q))
	mustExist(h, "handler for server-side event "+string(q))
	n.handleServer(string(q), func(ctx context.Context, from string, args []json.RawMessage, attachments [][]byte) (payload, error) {
		var v Q
		if err := decodePayload(args, attachments, &v); err != nil {
			return payload{}, badPayload(string(q), err)
		}
		answer, err := h(ctx, from, v)
		if err != nil {
			return payload{}, err
		}
		reply, err := arguments(answer)
		if err != nil {
			return payload{}, err
		}
		return encodeArgs("", reply)
	})
}

// A NodeReply is what one node answered to a [ServerRequest].
type NodeReply[R any] struct {
	From  string // the node's ID, see [Server.Nodes]
	Value R
}

// Call sends the request to every other node and yields the answers as they
// arrive. It ends with the last answer, with ctx, or after Options.AckTimeout if ctx
// has no deadline. An error with a From is that node's answer. A *[NodeError] is a
// node that did not answer. Any other error is the last.
func (q ServerRequest[Q, R]) Call(ctx context.Context, n *Namespace, v Q) iter.Seq2[NodeReply[R], error] {
	return func(yield func(NodeReply[R], error) bool) {
		p, err := encodeEvent(string(q), v)
		if err != nil {
			yield(NodeReply[R]{}, err)
			return
		}
		ctx, cancel := n.server.deadlined(ctx)
		defer cancel()
		v := n.server.newClusterCall(func(a *response, err error) bool {
			switch {
			case err != nil:
				return yield(NodeReply[R]{}, err)
			case a.Error != nil:
				return yield(NodeReply[R]{From: a.Node}, a.Error)
			}
			r := NodeReply[R]{From: a.Node}
			err = decodeAnswer(a.body, a.attachments, &r.Value)
			return yield(r, err)
		})
		err = v.run(ctx, n.route(), requestServer, p)
		wanted := true
		v.finish(ctx, err, func(err error) { wanted = wanted && yield(NodeReply[R]{}, err) })
	}
}

// A ServerTarget is where a server-side event can be emitted: a *[Server] (its
// namespace "/"), a *[Namespace], or an *[Emitter].
type ServerTarget interface{ servers() route }

func (n *Namespace) servers() route { return n.route() }

// A serverHandler handles a server-side event and returns the answer to it.
type serverHandler func(ctx context.Context, from string, args []json.RawMessage, attachments [][]byte) (payload, error)

func (n *Namespace) handleServer(name string, h serverHandler) {
	if packet.Reserved(name) {
		panic("socketio: " + name + ": " + ErrReserved.Error()) //nolint:forbidigo // a programmer's mistake at registration
	}
	if _, taken := n.serverHandlers.LoadOrStore(name, h); taken {
		panic("socketio: second handler for server-side event " + name) //nolint:forbidigo // a programmer's mistake at registration
	}
}

// CodeNoHandler is the answer of a node that has no handler for a request.
const CodeNoHandler Code = "no_handler"

// requestsAtOnce bounds the server-side requests that a node handles at a time.
const requestsAtOnce = 64

// serverEventQueue tracks the server-side events that wait for this node. They wait in
// the log: the queue contains only positions. The hub's lock guards it.
type serverEventQueue struct {
	working bool
	from    adapter.Position // handled up to here
	upTo    adapter.Position
	handled handledRequests // of handleServerEvents
}

// A requestName identifies a server-side event or request. An event from an emitter has no node.
type requestName struct {
	kind requestKind
	node string
	id   uint64
}

// handledRequests are the newest server-side events and requests that this node has handled: if the log loses its end, it may
// have them again at other positions. An event that is repeated after more than maxHandled others is handled again.
type handledRequests struct {
	names map[requestName]struct{}
	order []requestName // a ring
	next  int           // the index of the oldest one, when the ring is full
}

// maxHandled bounds handledRequests.
const maxHandled = 8192

// add reports whether the request is not known, and adds it. One without an id is of an earlier version, and is not
// recognized.
func (r *handledRequests) add(name requestName) bool {
	if name.id == 0 {
		return true
	}
	if _, known := r.names[name]; known {
		return false
	}
	if r.names == nil {
		r.names = make(map[requestName]struct{})
	}
	r.names[name] = struct{}{}
	if len(r.order) < maxHandled {
		r.order = append(r.order, name)
		return true
	}
	delete(r.names, r.order[r.next])
	r.order[r.next] = name
	r.next = (r.next + 1) % maxHandled
	return true
}

// serverEventLocked schedules the server-side event at p.
func (h *hub) serverEventLocked(p adapter.Position) {
	w := &h.serverEvents
	w.upTo = p
	if w.working {
		return
	}
	w.working, w.from = true, p-1
	h.server.work.start()
	go h.server.handleServerEvents() // owner: the server; ends when nothing waits
}

// passed reports whether d is a request at or before the position to which
// handleServerEvents reads. A later one was read from an end that the log has lost since:
// handleServerEvents reads the new records there next.
func (h *hub) passed(d *adapter.Delivery) bool {
	if d.Kind != adapter.Request {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return d.Offset.Position <= h.serverEvents.from
}

// handleServerEvents handles the events and requests that wait. After the end of the server's
// lifetime it refuses requests, so that the requesting nodes do not wait for a timeout.
func (s *Server) handleServerEvents() {
	defer s.work.done()
	ctx, cancel := s.withGrace()
	defer cancel()
	w := &s.hub.serverEvents
	for {
		s.hub.mu.Lock()
		from, to := w.from, w.upTo
		if from >= to {
			w.working = false
			s.hub.mu.Unlock()
			return
		}
		w.from = to
		s.hub.mu.Unlock()
		for batch, err := range s.opts.Adapter.Read(ctx, from, to) {
			if err != nil {
				if s.lifetime.Err() == nil {
					s.opts.Logger.ErrorContext(ctx, "server-side events lost", slog.Any("error", err))
				}
				break
			}
			for i := range batch {
				if d := &batch[i]; s.hub.passed(d) {
					s.handleServerEvent(ctx, d)
				}
			}
		}
	}
}

// withGrace returns a context that ends Options.EmitTimeout after the server's lifetime.
func (s *Server) withGrace() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.lifetime))
	stop := context.AfterFunc(s.lifetime, func() {
		timer := time.AfterFunc(s.opts.EmitTimeout, cancel)
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx, func() { stop(); cancel() }
}

// handleServerEvent handles one record of the log, if it is a server-side event of another
// node. It waits for the handler of an event, but not for the handler of a request.
func (s *Server) handleServerEvent(ctx context.Context, d *adapter.Delivery) {
	var r request
	body, err := cutHead(d.Payload, &r)
	r.trace = d.TraceContext
	switch {
	case err != nil || r.Node == s.hub.id:
	case r.Kind != requestServerEvent && r.Kind != requestServer:
	case !s.hub.serverEvents.handled.add(requestName{r.Kind, r.Node, r.ID}):
	case r.Kind == requestServerEvent && s.lifetime.Err() == nil:
		if _, err := s.serve(s.lifetime, d, r.Node, body); err != nil {
			s.opts.Logger.ErrorContext(ctx, "handler of a server-side event failed",
				slog.String("namespace", d.Namespace), slog.Any("error", err))
		}
	case r.Kind == requestServerEvent:
	case s.mayServe():
		s.work.start()
		go s.serveRequest(d, r, body) // owner: the server; ends with the handler
	default:
		s.answerServer(ctx, r, response{Error: &Error{Code: CodeInternal, Message: ErrShutdown.Error()}})
	}
}

// mayServe waits until fewer requests than requestsAtOnce are being handled. It returns
// false after the end of the server's lifetime: no code of the application runs then.
func (s *Server) mayServe() bool {
	if s.lifetime.Err() != nil {
		return false
	}
	select {
	case s.serverRequests <- struct{}{}:
		return true
	case <-s.lifetime.Done():
		return false
	}
}

// serveRequest runs the handler of a server-side request and answers, unless the
// requesting node does not wait any more.
func (s *Server) serveRequest(d *adapter.Delivery, r request, body []byte) {
	defer s.work.done()
	defer func() { <-s.serverRequests }()
	ctx, cancel := context.WithTimeout(s.lifetime, r.Wait)
	defer cancel()
	p, err := s.serve(ctx, d, r.Node, body)
	if ctx.Err() != nil && s.lifetime.Err() == nil {
		return
	}
	ctx, cancel = s.withGrace()
	defer cancel()
	s.answerServer(ctx, r, response{body: p.json, attachments: p.attachments, Error: s.wireError(ctx, err)})
}

// answerServer publishes the one answer of this node to a server-side request.
func (s *Server) answerServer(ctx context.Context, r request, a response) {
	a.Done, a.Number = true, 1
	if err := s.respond(ctx, r, a); err != nil && s.lifetime.Err() == nil {
		s.opts.Logger.ErrorContext(ctx, "request not answered", slog.Any("error", err))
	}
}

// serve runs the handler of a server-side event.
func (s *Server) serve(ctx context.Context, d *adapter.Delivery, from string, data []byte) (payload, error) {
	args, err := packet.SplitArgs(data, nil)
	if err != nil {
		return payload{}, err
	}
	name, err := packet.EventName(args[0])
	if err != nil {
		return payload{}, err
	}
	none := &Error{Code: CodeNoHandler, Message: name}
	n := s.existing(d.Namespace)
	if n == nil {
		return payload{}, none
	}
	found, ok := n.serverHandlers.Load(name)
	if !ok {
		return payload{}, none
	}
	handle, _ := found.(serverHandler)
	described := respondSpan(d)
	described.Event = name
	ctx, span := s.sender.tracing.start(ctx, described)
	var p payload
	err = protect(func() (err error) {
		if p, err = handle(ctx, from, args[1:], d.Attachments); err != nil {
			err = fmt.Errorf("%s: %w", name, err) // user code creates its text
		}
		return err
	})
	span.endAt(d.Offset.Position, err)
	if err != nil {
		return payload{}, err
	}
	return p, nil
}

// wireError returns the error to send to a peer for err.
func (s *Server) wireError(ctx context.Context, err error) *Error {
	if err == nil {
		return nil
	}
	known, ok := publicError(err)
	if !ok {
		s.opts.Logger.ErrorContext(ctx, "handler of a server-side request failed", slog.Any("error", err))
	}
	return s.encodable(known)
}
