package otelsocketio_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/otelsocketio"
)

// newTracer returns a tracer that propagates traces and baggage, and the spans that have ended.
func newTracer(t *testing.T, opts ...sdk.TracerProviderOption) (*otelsocketio.Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	ended := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(append(opts, sdk.WithSpanProcessor(ended))...)
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return otelsocketio.New(&otelsocketio.Options{
		TracerProvider: provider,
		Propagator:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	}), ended
}

// describe returns the name, kind, status and sorted attributes of a span in lines.
func describe(s sdk.ReadOnlySpan) string {
	lines := []string{}
	for _, a := range s.Attributes() {
		lines = append(lines, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
	}
	slices.Sort(lines)
	head := s.Name() + " " + s.SpanKind().String()
	if st := s.Status(); st.Code != codes.Unset {
		head += fmt.Sprintf(" %s %q", st.Code, st.Description)
	}
	return strings.Join(append([]string{head}, lines...), "\n")
}

func TestSpans_Describe(t *testing.T) {
	t.Parallel()
	start := time.Unix(1, 0)
	all := func(k socketio.SpanKind) socketio.TraceSpan {
		return socketio.TraceSpan{Kind: k, Namespace: "/n", Start: start}
	}
	with := func(s socketio.TraceSpan, change func(*socketio.TraceSpan)) socketio.TraceSpan { change(&s); return s }
	for _, c := range []struct {
		span socketio.TraceSpan
		end  func(*socketio.TraceSpan)
		want string
	}{
		{
			with(all(socketio.SpanHandle), func(s *socketio.TraceSpan) { s.Event, s.Socket, s.WantsReply = "post", "sid", true }),
			func(s *socketio.TraceSpan) { s.Replied = true },
			"handle post consumer\nmessaging.destination.name=post\nmessaging.operation.name=handle\nmessaging.operation.type=process\n" +
				"messaging.system=socketio\nsocketio.acknowledged=true\nsocketio.namespace=/n\nsocketio.socket.id=sid",
		}, {
			with(all(socketio.SpanHandle), func(s *socketio.TraceSpan) { s.Event, s.Unhandled = "made up", true }),
			func(*socketio.TraceSpan) {},
			"handle consumer\nmessaging.operation.name=handle\nmessaging.operation.type=process\n" +
				"messaging.system=socketio\nsocketio.namespace=/n\nsocketio.unhandled=true",
		}, {
			with(all(socketio.SpanEmit), func(s *socketio.TraceSpan) { s.Event = "posted" }),
			func(s *socketio.TraceSpan) { s.Position = 7 },
			"emit posted producer\nmessaging.destination.name=posted\nmessaging.operation.name=emit\nmessaging.operation.type=send\n" +
				"messaging.system=socketio\nsocketio.log.position=7\nsocketio.namespace=/n",
		}, {
			with(all(socketio.SpanDeliver), func(s *socketio.TraceSpan) { s.Event = "posted" }),
			func(s *socketio.TraceSpan) { s.Sockets = 3 },
			"deliver posted consumer\nmessaging.destination.name=posted\nmessaging.operation.name=deliver\nmessaging.operation.type=process\n" +
				"messaging.system=socketio\nsocketio.namespace=/n\nsocketio.sockets=3",
		}, {
			with(all(socketio.SpanCall), func(s *socketio.TraceSpan) { s.Event = "age" }),
			func(s *socketio.TraceSpan) { s.Err = context.DeadlineExceeded },
			"call age client Error \"context deadline exceeded\"\nerror.type=context.deadlineExceededError\nmessaging.destination.name=age\n" +
				"messaging.operation.name=call\nmessaging.operation.type=send\nmessaging.system=socketio\nsocketio.namespace=/n",
		}, {
			all(socketio.SpanConnect),
			func(s *socketio.TraceSpan) {
				s.Socket, s.Recovery = "former", socketio.RecoveryResult{Recovered: true, Replayed: 2}
			},
			"connect internal\nmessaging.operation.name=connect\nmessaging.system=socketio\nsocketio.namespace=/n\n" +
				"socketio.recovered=true\nsocketio.replayed=2\nsocketio.socket.id=former",
		}, {
			all("later"),
			func(*socketio.TraceSpan) {},
			"later internal\nmessaging.operation.name=later\nmessaging.system=socketio\nsocketio.namespace=/n",
		},
	} {
		tracer, ended := newTracer(t)
		s := c.span
		ctx := tracer.StartSpan(t.Context(), &s)
		s.End = start.Add(time.Second)
		c.end(&s)
		tracer.EndSpan(ctx, &s)
		span := ended.Ended()[0]
		if got := describe(span); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
		if !span.StartTime().Equal(s.Start) || !span.EndTime().Equal(s.End) {
			t.Errorf("%s lasts from %v to %v", c.want, span.StartTime(), span.EndTime())
		}
	}
}

func TestSpans_Errors(t *testing.T) {
	t.Parallel()
	bad := &socketio.Error{Code: socketio.CodeBadPayload, Message: "x: cannot read 4711"}
	denied := &socketio.Error{Code: "denied", Message: "private words"}
	for _, c := range []struct {
		kind   socketio.SpanKind
		err    error
		status sdk.Status
		class  string
	}{
		{socketio.SpanHandle, fmt.Errorf("x: %w", denied), sdk.Status{}, "denied"},
		{socketio.SpanConnect, denied, sdk.Status{}, "denied"},
		{socketio.SpanHandle, bad, sdk.Status{}, "bad_payload"},
		{socketio.SpanCall, bad, sdk.Status{Code: codes.Error, Description: "arguments do not fit"}, "bad_payload"},
		{socketio.SpanHandle, &socketio.Error{Message: "no code"}, sdk.Status{}, "_OTHER"},
		{socketio.SpanCall, denied, sdk.Status{Code: codes.Error, Description: "denied"}, "denied"},
		{socketio.SpanHandle, &socketio.DisconnectError{Reason: "transport close"}, sdk.Status{}, "*socketio.DisconnectError"},
		{socketio.SpanHandle, errors.New("panic: x\ngoroutine 1"), sdk.Status{Code: codes.Error, Description: "panic: x"}, "*errors.errorString"},
		{socketio.SpanEmit, adapter.ErrClosed, sdk.Status{Code: codes.Error, Description: adapter.ErrClosed.Error()}, "*errors.errorString"},
	} {
		tracer, ended := newTracer(t)
		s := socketio.TraceSpan{Kind: c.kind}
		ctx := tracer.StartSpan(t.Context(), &s)
		s.Err = c.err
		tracer.EndSpan(ctx, &s)
		span := ended.Ended()[0]
		set := attribute.NewSet(span.Attributes()...)
		class, _ := set.Value("error.type")
		if span.Status() != c.status || !strings.HasSuffix(class.AsString(), c.class) {
			t.Errorf("%s: %v has status %v, type %s", c.kind, c.err, span.Status(), class.AsString())
		}
	}
}

// TestTraceContext_TooLong: whole lines are left out, those that the trace needs least first.
func TestTraceContext_TooLong(t *testing.T) {
	t.Parallel()
	tracer, _ := newTracer(t)
	state := trace.TraceState{}
	for _, key := range []string{"a", "b"} {
		state, _ = state.Insert(key, strings.Repeat("s", 100))
	}
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state})
	for baggageSize, want := range map[int]int{100: 3, 300: 2} {
		member, err := baggage.NewMember("k", strings.Repeat("b", baggageSize))
		if err != nil {
			t.Fatal(err)
		}
		bag, _ := baggage.New(member)
		text := tracer.TraceContext(baggage.ContextWithBaggage(trace.ContextWithSpanContext(t.Context(), parent), bag))
		lines := strings.Split(text, "\n")
		if len(text) > adapter.MaxTraceContext || len(lines) != want || !strings.HasPrefix(lines[0], "traceparent:00-01") || !strings.HasPrefix(lines[1], "tracestate:b=ss") {
			t.Errorf("%d bytes, %q", len(text), lines)
		}
	}
	if text := tracer.TraceContext(t.Context()); text != "" {
		t.Errorf("without a trace %q", text)
	}
}

// TestHandle_BeginsTrace: a connection is not one trace, and baggage of the client goes no further.
func TestHandle_BeginsTrace(t *testing.T) {
	t.Parallel()
	tracer, ended := newTracer(t)
	request := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	member, _ := baggage.NewMember("k", "secret")
	bag, _ := baggage.New(member)
	ctx := baggage.ContextWithBaggage(trace.ContextWithSpanContext(t.Context(), request), bag)
	for kind, sameTrace := range map[socketio.SpanKind]bool{socketio.SpanHandle: false, socketio.SpanConnect: true} {
		s := socketio.TraceSpan{Kind: kind}
		inner := tracer.StartSpan(ctx, &s)
		emit := socketio.TraceSpan{Kind: socketio.SpanEmit}
		tracer.StartSpan(inner, &emit)
		tracer.EndSpan(inner, &s)
		span := ended.Ended()[len(ended.Ended())-1]
		if s.TraceContext != "" || strings.Contains(emit.TraceContext, "secret") {
			t.Errorf("%s carries %q, its emit %q", kind, s.TraceContext, emit.TraceContext)
		}
		if same := span.SpanContext().TraceID() == request.TraceID(); same != sameTrace {
			t.Errorf("%s is in the trace of the request: %v", kind, same)
		}
		if kind == socketio.SpanHandle && (len(span.Links()) != 1 || !span.Links()[0].SpanContext.Equal(request) || span.Parent().IsValid()) {
			t.Errorf("%s has the links %v", kind, span.Links())
		}
	}
}

func TestTraceAppend_ChildOfSampled(t *testing.T) {
	t.Parallel()
	tracer, ended := newTracer(t, sdk.WithSampler(sdk.ParentBased(sdk.NeverSample())))
	of := func(id byte, sampled trace.TraceFlags) string {
		return tracer.TraceContext(trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: sampled,
		})))
	}
	ctx, end := tracer.TraceAppend(t.Context(), []string{of(1, 0), of(2, 1), of(3, 1), of(4, 0)})
	end(errors.New("refused"))
	if got := trace.SpanContextFromContext(ctx).TraceID(); got != (trace.TraceID{2}) {
		t.Errorf("in trace %v", got)
	}
	span := ended.Ended()[0]
	if links := span.Links(); len(links) != 1 || links[0].SpanContext.TraceID() != (trace.TraceID{3}) || span.Status().Description != "refused" {
		t.Errorf("links %v, status %v", links, span.Status())
	}
	ctx, end = tracer.TraceAppend(t.Context(), []string{of(1, 0), of(4, 0)})
	end(nil)
	if got := trace.SpanContextFromContext(ctx); got.TraceID() != (trace.TraceID{1}) || got.IsSampled() || len(ended.Ended()) != 1 {
		t.Errorf("without a sampled one in %v, with %d spans", got, len(ended.Ended()))
	}
}

// An evilError panics when it is printed.
type evilError struct{}

func (evilError) Error() string { panic("evil") }

// An evilPropagator panics when it writes.
type evilPropagator struct{ propagation.TraceContext }

func (evilPropagator) Inject(context.Context, propagation.TextMapCarrier) { panic("evil") }

// TestSpans_EndAfterPanics: a span ends, whatever user code does.
func TestSpans_EndAfterPanics(t *testing.T) {
	t.Parallel()
	recovered := func(f func()) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		f()
	}
	tracer, ended := newTracer(t)
	s := socketio.TraceSpan{Kind: socketio.SpanEmit}
	ctx := tracer.StartSpan(t.Context(), &s)
	s.Err = evilError{}
	recovered(func() { tracer.EndSpan(ctx, &s) })
	_, end := tracer.TraceAppend(t.Context(), []string{s.TraceContext})
	recovered(func() { end(evilError{}) })
	evil := otelsocketio.New(&otelsocketio.Options{
		TracerProvider: sdk.NewTracerProvider(sdk.WithSpanProcessor(ended)), Propagator: evilPropagator{},
	})
	recovered(func() { evil.StartSpan(t.Context(), &socketio.TraceSpan{Kind: socketio.SpanEmit}) })
	if got, begun := len(ended.Ended()), len(ended.Started()); got != 3 || begun != 3 {
		t.Errorf("%d of %d spans have ended", got, begun)
	}
}

// TestSpans_Texts: what exporters refuse, and what is too long for them, is in no span.
func TestSpans_Texts(t *testing.T) {
	t.Parallel()
	tracer, ended := newTracer(t)
	s := socketio.TraceSpan{Kind: socketio.SpanEmit, Namespace: "/\xff", Event: "e\xff"}
	ctx := tracer.StartSpan(t.Context(), &s)
	s.Err = errors.New("x\xff" + strings.Repeat("é", 10_000))
	tracer.EndSpan(ctx, &s)
	span := ended.Ended()[0]
	text := span.Status().Description
	if !utf8.ValidString(describe(span)) || len(text) > 1024 || !strings.HasPrefix(text, "x\ufffdé") {
		t.Errorf("%d bytes in %.300s", len(text), describe(span))
	}
	if span.Name() != "emit e\ufffd" {
		t.Errorf("name %q", span.Name())
	}
}
