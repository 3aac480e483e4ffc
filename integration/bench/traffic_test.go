package main

import (
	"slices"
	"testing"
)

// TestTraffic_ReceiptsAreJudged takes receipts that are all right, and then puts one fault into those of one receiver.
func TestTraffic_ReceiptsAreJudged(t *testing.T) {
	t.Parallel()
	var right []message
	for number := range posts {
		for poster := range posters {
			right = append(right, message{poster, number})
		}
	}
	for _, c := range []struct {
		name  string
		fault func(seen []message) []message
		want  traffic
	}{
		{"none", func(seen []message) []message { return seen }, traffic{orders: 1}},
		{"missing", func(seen []message) []message { return slices.Delete(seen, 7, 8) }, traffic{lost: 1, orders: 2}},
		{"twice", func(seen []message) []message { return append(seen, seen[len(seen)-1]) }, traffic{twice: 1, orders: 2}},
		{"two of one client exchanged", func(seen []message) []message {
			seen[0], seen[posters] = seen[posters], seen[0]
			return seen
		}, traffic{reordered: 1, orders: 2}},
		{"two of different clients exchanged", func(seen []message) []message {
			seen[0], seen[1] = seen[1], seen[0]
			return seen
		}, traffic{orders: 2}},
	} {
		w := &clientSide{}
		for range receivers {
			w.receivers = append(w.receivers, &recordingClient{seen: slices.Clone(right)})
		}
		w.receivers[3].seen = c.fault(w.receivers[3].seen)
		var got traffic
		w.judge(&got)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if broken := got.violation() != ""; broken != (c.name != "none") {
			t.Errorf("%s: violation %q", c.name, got.violation())
		}
	}
}
