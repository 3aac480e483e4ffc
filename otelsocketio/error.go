package otelsocketio

import (
	"errors"
	"strings"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsocket/socketio"
)

// setError records why a span failed, unless err is nil.
func setError(span trace.Span, k socketio.SpanKind, err error) {
	if err == nil {
		return
	}
	answers := k == socketio.SpanConnect || k == socketio.SpanHandle || k == socketio.SpanRespond
	if e, ok := errors.AsType[*socketio.Error](err); ok {
		span.SetAttributes(semconv.ErrorTypeKey.String(string(e.Code)))
		switch {
		case answers: // the application's decision
		case e.Code == socketio.CodeBadPayload: // its text quotes the payload
			span.SetStatus(codes.Error, "arguments do not fit")
		default:
			span.SetStatus(codes.Error, string(e.Code))
		}
		return
	}
	span.SetAttributes(semconv.ErrorType(err))
	if _, ok := errors.AsType[*socketio.DisconnectError](err); ok && answers {
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // else with the stack of a panic
	span.SetStatus(codes.Error, text)
}
