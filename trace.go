package socketio

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/packet"
)

// A Tracer observes the work of a server as the spans of distributed traces.
//
// An event of a client that a handler emits to other clients has this tree of spans:
//
//	handle              the node that the client is connected to
//	└─ emit             ends when the event is in the log
//	   └─ deliver       each node with sockets that receive it
//
// The methods are called from many goroutines, and never under a lock. They may call the
// server; what they emit there has spans of its own. A Tracer that panics
// loses the span; that is logged. One that blocks delays its caller, except for
// SpanDeliver: these spans are passed on by one goroutine of their own, one at a time, after
// the delivery. Up to 65,536 of them wait; more are skipped, which is logged.
type Tracer interface {
	// StartSpan is called at the beginning of a span. Ctx contains the parent, if there is
	// one. The context that StartSpan returns is ctx or derived from it. Handlers, middleware
	// and hooks receive its values; it does not cancel their work.
	//
	// For a kind that says so, StartSpan may set TraceContext.
	StartSpan(ctx context.Context, s *TraceSpan) context.Context

	// EndSpan is called once at the end of the span, with the values of the context that
	// StartSpan returned. Ctx may be cancelled.
	EndSpan(ctx context.Context, s *TraceSpan)
}

// A SpanKind is what a [TraceSpan] covers. Later versions may add kinds.
type SpanKind string

// The kinds of span.
const (
	// SpanConnect is a CONNECT of a client to a namespace, up to the end of OnConnect: the
	// middleware, the recovery and its replay. Ctx contains the values of the context of the
	// connection's first HTTP request. Err is the refusal, or why the socket was dropped.
	SpanConnect SpanKind = "connect"

	// SpanHandle is an event or request of a client: its catch-alls, interceptors and handler,
	// without the time in the queue. Ctx contains the values of the context of the
	// connection's first HTTP request, which may have ended long ago.
	SpanHandle SpanKind = "handle"

	// SpanEmit is an Emit of an event or server-side event. It ends when the event is in the
	// log, or refused; for local and volatile targets, and for EmitAsync, which has no
	// context, when it is on its way. StartSpan sets the TraceContext of the record.
	SpanEmit SpanKind = "emit"

	// SpanJoin, SpanLeave and SpanDisconnect are operations on an [Audience]. They end when the
	// operation is in the log.
	SpanJoin       SpanKind = "join"
	SpanLeave      SpanKind = "leave"
	SpanDisconnect SpanKind = "disconnect"

	// SpanCall is a Call or CallAll, up to the last answer, and SpanFetch a Fetch. StartSpan
	// sets the TraceContext of the record, if there is one: a Call of a socket of this node
	// has none.
	SpanCall  SpanKind = "call"
	SpanFetch SpanKind = "fetch"

	// SpanDeliver is the delivery of an event to the sockets of this node: it ends when the
	// event is queued for their connections. Only records with a TraceContext that reach a
	// socket here have such a span. Start and End are in the past.
	SpanDeliver SpanKind = "deliver"

	// SpanRespond is a request of a node, or a server-side event, on a node that answers or
	// handles it. TraceContext is that of the record.
	SpanRespond SpanKind = "respond"
)

// A TraceSpan describes a span for a [Tracer]. It contains neither payloads nor private ids.
// A Tracer may use it until EndSpan returns.
type TraceSpan struct {
	Kind      SpanKind
	Namespace string   // a client may have chosen it, see Server.OfPattern
	Event     string   // "" if the kind has none
	Unhandled bool     // no handler has this event: a client has made up its name, maybe
	Socket    SocketID // the one that it concerns, on this node; "" if there are several or none
	Start     time.Time

	WantsReply bool // SpanHandle: the client waits for an acknowledgement

	// TraceContext is the context of the trace as a record of the log carries it between nodes,
	// see adapter.Envelope. One that is not valid is dropped, see adapter.ValidTraceContext.
	TraceContext string

	// These are set at the end.

	End      time.Time
	Err      error            // why it failed; nil if it did not
	Position adapter.Position // of the record in the log; 0: none, or not known
	Sockets  int              // SpanDeliver: the sockets that the event was addressed to
	Replied  bool             // SpanHandle: the client was sent an acknowledgement
	Recovery RecoveryResult   // SpanConnect
}

// tracing calls a Tracer. A nil *tracing is valid, and does nothing.
type tracing struct {
	tracer Tracer
	logger *slog.Logger
}

func newTracing(t Tracer, logger *slog.Logger) *tracing {
	if t == nil {
		return nil
	}
	return &tracing{tracer: t, logger: logger}
}

// A span is one that was started. A nil *span is valid, and does nothing.
type span struct {
	TraceSpan

	tracing *tracing
	ctx     context.Context //nolint:containedctx // of the span, for EndSpan
}

// start starts a span. The caller holds no lock. Callers check first that t is not nil
// where describing the span costs something.
func (t *tracing) start(ctx context.Context, described TraceSpan) (context.Context, *span) {
	if t == nil {
		return ctx, nil
	}
	s := &span{TraceSpan: described, tracing: t, ctx: ctx}
	if s.Start.IsZero() {
		s.Start = time.Now()
	}
	var inner context.Context
	err := protect(func() error {
		inner = t.tracer.StartSpan(ctx, &s.TraceSpan) //nolint:fatcontext // set once
		return nil
	})
	if err != nil {
		t.failed(err)
		return ctx, nil
	}
	s.ctx = boundary.WithValues(ctx, inner)
	return s.ctx, s
}

func (t *tracing) failed(err error) { t.logger.Error("tracer failed", slog.Any("error", err)) }

// end ends the span. The caller holds no lock.
func (s *span) end(err error) {
	if s == nil {
		return
	}
	s.Err = err
	if s.End.IsZero() {
		s.End = time.Now()
	}
	err = protect(func() error {
		s.tracing.tracer.EndSpan(s.ctx, &s.TraceSpan)
		return nil
	})
	if err != nil {
		s.tracing.failed(err)
	}
}

// endAt ends the span of a record that is in the log at p, unless err is set.
func (s *span) endAt(p adapter.Position, err error) {
	if s != nil {
		s.Position = p
		s.end(err)
	}
}

// startEvent starts the span of an event that this program has encoded.
func (t *tracing) startEvent(ctx context.Context, described TraceSpan, payload []byte) (context.Context, *span) {
	if t == nil {
		return ctx, nil
	}
	described.Event = eventIn(payload)
	return t.start(ctx, described)
}

// eventIn returns the name in the payload of an event, or "" if there is none. It does not look at the arguments.
func eventIn(payload []byte) string {
	first := bytes.TrimLeft(payload, " \t\r\n[")
	for i := 1; i < len(first) && first[0] == '"'; i++ {
		switch first[i] {
		case '\\':
			i++
		case '"':
			name, _ := packet.EventName(first[:i+1])
			return name
		}
	}
	return ""
}

// startPublish starts the span of an envelope, which is not published yet, and has the
// record carry its context.
func (r route) startPublish(ctx context.Context, kind SpanKind, e *adapter.Envelope) (context.Context, *span) {
	if r.tracing == nil {
		return ctx, nil
	}
	described := TraceSpan{Kind: kind, Namespace: e.Namespace}
	if kind == SpanEmit {
		described.Event = eventIn(e.Payload)
	}
	if r.socket != nil {
		described.Socket = r.socket.id
	}
	ctx, s := r.tracing.start(ctx, described)
	if s != nil {
		e.TraceContext = s.TraceContext
	}
	return ctx, s
}

// carried returns the context that a record of the span carries.
func (s *span) carried() string {
	if s == nil {
		return ""
	}
	return s.TraceContext
}

// startHandling starts the span of a client's event, and returns the context for its handler.
func (s *Socket) startHandling(m *Message, t *table) context.Context {
	tracing := s.namespace.server.sender.tracing
	if tracing == nil {
		return s.ctx
	}
	_, handled := t.handlers[m.event]
	var ctx context.Context
	ctx, m.span = tracing.start(s.ctx, TraceSpan{
		Kind: SpanHandle, Namespace: s.namespace.name, Event: m.event, Unhandled: !handled, Socket: s.id,
		WantsReply: m.WantsReply(),
	})
	return ctx
}

// endHandling ends it.
func (m *Message) endHandling(err error) {
	if s := m.span; s != nil {
		s.Replied = s.WantsReply && !m.WantsReply()
		s.end(err)
	}
}

// logContext returns the context for log lines about the message.
func (m *Message) logContext() context.Context {
	if m.span != nil {
		return m.span.ctx
	}
	return m.socket.ctx
}

// startConnect starts the span of a CONNECT. The function that it returns ends it.
func (s *Socket) startConnect() (context.Context, func()) {
	tracing := s.namespace.server.sender.tracing
	if tracing == nil {
		return s.ctx, func() {}
	}
	ctx, span := tracing.start(s.ctx, TraceSpan{Kind: SpanConnect, Namespace: s.namespace.name, Socket: s.id})
	return ctx, func() {
		if span != nil {
			span.Socket, span.Recovery = s.id, s.Recovery()
			span.end(s.connectErr)
		}
	}
}

// A tracedDelivery is a delivery whose span is over. It does not keep the payload: many may wait for the tracer.
type tracedDelivery struct {
	namespace, event, trace string
	position                adapter.Position
	sockets                 int
	start, end              time.Time
}

// deliverEventLocked sends an event to its audience. Its span is passed to the tracer
// later.
func (h *hub) deliverEventLocked(d *adapter.Delivery) {
	o := &delivery{Envelope: d.Envelope, offset: d.Offset, since: h.sinceLocked(d)}
	if h.traced == nil || d.TraceContext == "" {
		h.fanOutLocked(o)
		return
	}
	start := time.Now()
	h.fanOutLocked(o)
	if o.sockets > 0 {
		h.traced.push(tracedDelivery{
			namespace: d.Namespace, event: eventIn(d.Payload), trace: d.TraceContext, position: d.Offset.Position,
			sockets: o.sockets, start: start, end: time.Now(),
		})
	}
}

func (s *Server) traceDelivery(d tracedDelivery) {
	_, span := s.sender.tracing.start(s.lifetime, TraceSpan{
		Kind: SpanDeliver, Namespace: d.namespace, Event: d.event, Start: d.start, TraceContext: d.trace,
	})
	if span != nil {
		span.Sockets, span.End = d.sockets, d.end
		span.endAt(d.position, nil)
	}
}

func (s *Server) logUntraced(missed int) {
	s.opts.Logger.Error("tracer too slow: spans of deliveries skipped", slog.Int("missed", missed))
}
