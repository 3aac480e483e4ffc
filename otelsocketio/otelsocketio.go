// Package otelsocketio records the work of a server as spans of OpenTelemetry.
//
//	io := socketio.NewServer(&socketio.Options{Adapter: db, Tracer: otelsocketio.New(nil)})
//
// An event of a client that a handler emits to other clients is one trace, over all nodes:
//
//	handle post              CONSUMER  the node that the client is connected to
//	└─ emit posted           PRODUCER  until the event is in the log
//	   ├─ append             INTERNAL  with TraceAppend
//	   ├─ deliver posted     CONSUMER  each node with sockets that receive it
//	   └─ …                            each node
//
// # Traces
//
// The context of a trace travels with the record in the log, and never to a client.
//
// A "handle" span begins a trace of its own, with a link to the span of the HTTP request that
// opened the connection: a connection may last for days, and one trace would have all its
// events, and one decision of the sampler. Baggage of that request ends there, because the
// client may have written it. A "connect" span is a child of the HTTP request. Where clients
// are not trusted, have the instrumentation of net/http begin new traces (WithPublicEndpointFn
// of otelhttp).
//
// An append to Postgres contains the events of many callers. [Tracer.TraceAppend], if it is
// pgadapter.Options.TraceAppend, makes its span a child of the first that is sampled, with links to the
// others; with a tracer of the pgx pool, for example otelpgx, the statement is a child of
// that. Statements of handlers are children of their "handle" span.
//
// # Spans
//
// The names are "OPERATION EVENT", for example "emit posted", or "OPERATION" for a kind that has
// no event and for an event that has no handler, whose name a client may have made up: their
// number is bounded by that of the application's events.
//
//	operation                       span kind   messaging.operation.type
//	connect, append                 INTERNAL
//	handle, deliver, respond        CONSUMER    process
//	emit, join, leave, disconnect   PRODUCER    send
//	call, fetch                     CLIENT      send
//
// See [socketio.SpanKind] for what each covers. The attributes follow the semantic conventions
// for messaging spans:
//
//	messaging.system             socketio
//	messaging.operation.name     the operation
//	messaging.operation.type     see above
//	messaging.destination.name   the event; not if it has no handler
//	error.type                   the Code of a socketio.Error, or a type of Go
//	socketio.namespace           the namespace
//	socketio.socket.id           the socket that the span concerns; not its private id
//	socketio.log.position        of the record in the log
//	socketio.sockets             deliver: the number of sockets that the event was addressed to
//	socketio.unhandled           handle: true if no handler has the event
//	socketio.acknowledged        handle, if the client asked for it: whether it was sent one
//	socketio.recovered           connect: whether the session was recovered
//	socketio.replayed            connect: the events that the client had missed
//
// No attribute contains a payload or the private id of a session. The status of a span that
// failed is Error, with the first line of the error, which a handler may have written, of at
// most 1,000 bytes; that of bad arguments, which quotes them, is left out. A [socketio.Error] that refuses or answers a client is the application's
// decision, and a socket that was disconnected meanwhile is no failure: as with responses 4xx of an
// HTTP server, only error.type is set.
//
// See https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/.
package otelsocketio

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsocket/socketio"
)

const scope = "github.com/pgsocket/socketio/otelsocketio"

// Options configure a [Tracer]. The zero value of each field means its default.
type Options struct {
	// TracerProvider makes the spans. Default: otel.GetTracerProvider().
	TracerProvider trace.TracerProvider

	// Propagator writes the context of a trace into the records of the log, and reads it on
	// the other nodes. All nodes need the same. A propagator of baggage keeps it in the
	// database for as long as the record. Default: otel.GetTextMapPropagator(), which
	// writes nothing until otel.SetTextMapPropagator is called.
	Propagator propagation.TextMapPropagator
}

// A Tracer is a [socketio.Tracer] for OpenTelemetry. Its methods may be called from any goroutine.
type Tracer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
}

var _ socketio.Tracer = (*Tracer)(nil)

// New returns a tracer for socketio.Options.Tracer and Emitter.WithTracer. Opts may be nil.
func New(opts *Options) *Tracer {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.Propagator == nil {
		o.Propagator = otel.GetTextMapPropagator()
	}
	return &Tracer{
		tracer:     o.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		propagator: o.Propagator,
	}
}

// TraceContext returns the context of the trace that ctx is part of, for
// pgadapter.EmitOptions.TraceContext, or "".
func (t *Tracer) TraceContext(ctx context.Context) string {
	var c carrier
	t.propagator.Inject(ctx, &c)
	return c.String()
}

// StartSpan implements [socketio.Tracer].
func (t *Tracer) StartSpan(ctx context.Context, s *socketio.TraceSpan) context.Context {
	k := kinds[s.Kind]
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(k.span), trace.WithTimestamp(s.Start), trace.WithAttributes(atStart(s, k)...),
	}
	switch s.Kind {
	case socketio.SpanHandle:
		opts = append(opts, trace.WithNewRoot())
		if connection := trace.SpanContextFromContext(ctx); connection.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: connection}))
		}
		ctx = baggage.ContextWithoutBaggage(ctx)
	case socketio.SpanConnect:
		ctx = baggage.ContextWithoutBaggage(ctx)
	case socketio.SpanDeliver, socketio.SpanRespond:
		ctx = t.propagator.Extract(ctx, parse(s.TraceContext))
	default: // the parent is in ctx
	}
	ctx, span := t.tracer.Start(ctx, name(s), opts...)
	if k.sends {
		carried := false
		defer func() {
			if !carried { // the propagator has panicked, and EndSpan is not called
				span.End()
			}
		}()
		s.TraceContext = t.TraceContext(ctx)
		carried = true
	}
	return ctx
}

// TraceAppend observes appends, for the option of pgadapter of that name.
func (t *Tracer) TraceAppend(ctx context.Context, contexts []string) (traced context.Context, end func(error)) {
	parent := contexts[0]
	var links []trace.Link
	sampled := false
	for _, text := range contexts {
		emit := trace.SpanContextFromContext(t.propagator.Extract(ctx, parse(text)))
		switch {
		case !emit.IsSampled():
		case !sampled:
			parent, sampled = text, true
		default:
			links = append(links, trace.Link{SpanContext: emit})
		}
	}
	traced, span := t.tracer.Start(t.propagator.Extract(ctx, parse(parent)), "append", trace.WithLinks(links...),
		trace.WithAttributes(system, semconv.MessagingOperationName("append")))
	return traced, func(err error) {
		defer span.End() // also if the error panics
		setError(span, "", err)
	}
}

// EndSpan implements [socketio.Tracer].
func (t *Tracer) EndSpan(ctx context.Context, s *socketio.TraceSpan) {
	span := trace.SpanFromContext(ctx)
	defer span.End(trace.WithTimestamp(s.End)) // also if the error panics
	if span.IsRecording() {
		span.SetAttributes(atEnd(s)...)
		setError(span, s.Kind, s.Err)
	}
}

// A kind is what all spans of a [socketio.SpanKind] have in common. The zero value is that of
// kinds that this version does not know.
type kind struct {
	span      trace.SpanKind
	operation attribute.KeyValue // messaging.operation.type; invalid if the kind has none
	sends     bool               // its record carries the context
}

var kinds = map[socketio.SpanKind]kind{ //nolint:gochecknoglobals // a table
	socketio.SpanConnect:    {span: trace.SpanKindInternal},
	socketio.SpanHandle:     {span: trace.SpanKindConsumer, operation: semconv.MessagingOperationTypeProcess},
	socketio.SpanDeliver:    {span: trace.SpanKindConsumer, operation: semconv.MessagingOperationTypeProcess},
	socketio.SpanRespond:    {span: trace.SpanKindConsumer, operation: semconv.MessagingOperationTypeProcess},
	socketio.SpanEmit:       {span: trace.SpanKindProducer, operation: semconv.MessagingOperationTypeSend, sends: true},
	socketio.SpanJoin:       {span: trace.SpanKindProducer, operation: semconv.MessagingOperationTypeSend, sends: true},
	socketio.SpanLeave:      {span: trace.SpanKindProducer, operation: semconv.MessagingOperationTypeSend, sends: true},
	socketio.SpanDisconnect: {span: trace.SpanKindProducer, operation: semconv.MessagingOperationTypeSend, sends: true},
	socketio.SpanCall:       {span: trace.SpanKindClient, operation: semconv.MessagingOperationTypeSend, sends: true},
	socketio.SpanFetch:      {span: trace.SpanKindClient, operation: semconv.MessagingOperationTypeSend, sends: true},
}

// event returns the name of the span's event, or "" if a client may have made it up.
func event(s *socketio.TraceSpan) string {
	if s.Unhandled {
		return ""
	}
	return valid(s.Event)
}

func name(s *socketio.TraceSpan) string {
	if e := event(s); e != "" {
		return string(s.Kind) + " " + e
	}
	return string(s.Kind)
}

var system = semconv.MessagingSystemKey.String("socketio") //nolint:gochecknoglobals // a constant

const (
	namespaceKey    = attribute.Key("socketio.namespace")
	socketKey       = attribute.Key("socketio.socket.id")
	positionKey     = attribute.Key("socketio.log.position")
	socketsKey      = attribute.Key("socketio.sockets")
	unhandledKey    = attribute.Key("socketio.unhandled")
	acknowledgedKey = attribute.Key("socketio.acknowledged")
	recoveredKey    = attribute.Key("socketio.recovered")
	replayedKey     = attribute.Key("socketio.replayed")
)

// atStart returns the attributes that samplers see as well.
func atStart(s *socketio.TraceSpan, k kind) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		system,
		semconv.MessagingOperationName(string(s.Kind)),
		namespaceKey.String(valid(s.Namespace)),
	}
	if k.operation.Valid() {
		attrs = append(attrs, k.operation)
	}
	if e := event(s); e != "" {
		attrs = append(attrs, semconv.MessagingDestinationName(e))
	}
	if s.Unhandled {
		attrs = append(attrs, unhandledKey.Bool(true))
	}
	if s.Socket != "" {
		attrs = append(attrs, socketKey.String(string(s.Socket)))
	}
	return attrs
}

func atEnd(s *socketio.TraceSpan) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	if s.Position != 0 {
		attrs = append(attrs, positionKey.Int64(int64(s.Position)))
	}
	switch s.Kind {
	case socketio.SpanConnect:
		attrs = append(attrs, socketKey.String(string(s.Socket)), // a recovered session has its former id
			recoveredKey.Bool(s.Recovery.Recovered), replayedKey.Int(s.Recovery.Replayed))
	case socketio.SpanHandle:
		if s.WantsReply {
			attrs = append(attrs, acknowledgedKey.Bool(s.Replied))
		}
	case socketio.SpanDeliver:
		attrs = append(attrs, socketsKey.Int(s.Sockets))
	default:
	}
	return attrs
}
