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
		class := valid(string(e.Code))
		if class == "" {
			class = semconv.ErrorTypeOther.Value.AsString()
		}
		span.SetAttributes(semconv.ErrorTypeKey.String(class))
		switch {
		case answers: // the application's decision
		case e.Code == socketio.CodeBadPayload: // its text quotes the payload
			span.SetStatus(codes.Error, "arguments do not fit")
		default:
			span.SetStatus(codes.Error, class)
		}
		return
	}
	span.SetAttributes(semconv.ErrorType(err))
	if _, ok := errors.AsType[*socketio.DisconnectError](err); ok && answers {
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // else with the stack of a panic
	span.SetStatus(codes.Error, valid(text[:min(len(text), maxStatus)]))
}

// maxStatus bounds the text of an error, in bytes.
const maxStatus = 1000

// valid returns a text that exporters accept: one that is not UTF-8 fails the export of all spans that are exported with it.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }
