package tracing_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsocket/socketio/integration/harness"
)

// A span is one that ended on a node.
type span struct {
	tracetest.SpanStub

	node string
}

// spansOf returns the spans of nodes. Of those of pgx it returns the statements: when a node connects, reads its key and
// prepares is not the subject here.
func spansOf(nodes ...*node) (spans []span) {
	for _, n := range nodes {
		for _, s := range n.spans.GetSpans() {
			if s.InstrumentationScope.Name != pgxScope || strings.HasPrefix(s.Name, "query ") && s.Name != "query meta" {
				spans = append(spans, span{s, n.name})
			}
		}
	}
	return spans
}

const pgxScope = "github.com/exaring/otelpgx"

// tree returns the spans of a trace in lines "node kind name", each below its parent. Spans that are alike, siblings and
// with the same spans below, are one line.
func tree(spans []span, id trace.TraceID) string {
	below := make(map[trace.SpanID][]span)
	known := make(map[trace.SpanID]bool)
	for _, s := range spans {
		if s.SpanContext.TraceID() == id {
			known[s.SpanContext.SpanID()] = true
		}
	}
	for _, s := range spans {
		if s.SpanContext.TraceID() != id {
			continue
		}
		parent := s.Parent.SpanID()
		if parent.IsValid() && !known[parent] { // it has not ended, or is lost
			parent = trace.SpanID{0xff}
		}
		below[parent] = append(below[parent], s)
	}
	var draw func(parent trace.SpanID, indent string) string
	draw = func(parent trace.SpanID, indent string) string {
		var drawn []string
		for _, s := range below[parent] {
			drawn = append(drawn, fmt.Sprintf("%s%s %s %s\n", indent, s.node, s.SpanKind, s.Name)+draw(s.SpanContext.SpanID(), indent+"  "))
		}
		slices.Sort(drawn)
		return strings.Join(slices.Compact(drawn), "")
	}
	text := draw(trace.SpanID{}, "")
	if lost := draw(trace.SpanID{0xff}, "  "); lost != "" {
		text += "without their parent\n" + lost
	}
	return text
}

// wantTrace waits until the newest trace that a span of this name begins is the tree, and returns its spans by their names.
func wantTrace(t *testing.T, root, want string, nodes ...*node) map[string]span {
	t.Helper()
	var id trace.TraceID
	var got string
	want = strings.TrimPrefix(want, "\n") // of a literal that begins on a line of its own
	ok := harness.Eventually(patience, func() bool {
		spans := spansOf(nodes...)
		roots := slices.DeleteFunc(slices.Clone(spans), func(s span) bool { return s.Name != root || s.Parent.IsValid() })
		if len(roots) == 0 {
			return false
		}
		id = slices.MaxFunc(roots, func(a, b span) int { return a.StartTime.Compare(b.StartTime) }).SpanContext.TraceID()
		got = tree(spans, id)
		return got == want
	})
	if !ok {
		t.Fatalf("got the trace\n%s\nwant\n%s\nall spans:\n%s", got, want, all(nodes...))
	}
	named := make(map[string]span)
	for _, s := range spansOf(nodes...) {
		if s.SpanContext.TraceID() == id {
			named[s.node+" "+s.Name] = s
		}
	}
	return named
}

// all returns all traces.
func all(nodes ...*node) string {
	spans := spansOf(nodes...)
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.StartTime.UnixNano(), b.StartTime.UnixNano()) })
	var seen []trace.TraceID
	var text strings.Builder
	for _, s := range spans {
		if id := s.SpanContext.TraceID(); !slices.Contains(seen, id) {
			seen = append(seen, id)
			fmt.Fprintf(&text, "%s\n%s", id, tree(spans, id))
		}
	}
	return text.String()
}

// attribute returns the value of an attribute as text, or "".
func (s *span) attribute(key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}
