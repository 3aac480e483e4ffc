package otelsocketio

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/propagation"

	"github.com/pgsocket/socketio/adapter"
)

// A carrier is the context of a trace as a record carries it: lines "name:value" as in the header of HTTP.
type carrier struct{ lines []string }

var _ propagation.TextMapCarrier = (*carrier)(nil)

func parse(text string) *carrier {
	if text == "" {
		return &carrier{}
	}
	return &carrier{strings.Split(text, "\n")}
}

// String returns the lines that fit into a record: the first is traceparent, then tracestate, then others by their names. A
// line that does not fit is left out as a whole.
func (c *carrier) String() string {
	lines := slices.Clone(c.lines)
	slices.SortFunc(lines, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	var b strings.Builder
	for _, line := range lines {
		n := len(line)
		if b.Len() > 0 {
			n++
		}
		if b.Len()+n > adapter.MaxTraceContext {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line)
	}
	return b.String()
}

// rank orders lines by how much of a trace is lost without them.
func rank(line string) int {
	switch name, _, _ := strings.Cut(line, ":"); name {
	case "traceparent":
		return 0
	case "tracestate":
		return 1
	case "baggage":
		return 3
	default:
		return 2
	}
}

// Get implements propagation.TextMapCarrier.
func (c *carrier) Get(key string) string {
	for _, line := range c.lines {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, key) {
			return value
		}
	}
	return ""
}

// Set implements propagation.TextMapCarrier. It ignores what no header of HTTP can contain.
func (c *carrier) Set(key, value string) {
	line := strings.ToLower(key) + ":" + value
	if key == "" || value == "" || strings.Contains(key, ":") || strings.ContainsAny(line, "\r\n\x00") || !utf8.ValidString(line) {
		return
	}
	c.lines = slices.DeleteFunc(c.lines, func(l string) bool { return strings.HasPrefix(l, strings.ToLower(key)+":") })
	c.lines = append(c.lines, line)
}

// Keys implements propagation.TextMapCarrier.
func (c *carrier) Keys() []string {
	keys := make([]string, len(c.lines))
	for i, line := range c.lines {
		keys[i], _, _ = strings.Cut(line, ":")
	}
	return keys
}
