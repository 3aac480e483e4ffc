package adaptertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

func bindStartOffset(t *testing.T, log Log) {
	a := log.Node(t)
	Append(t, a, Event("before"))
	if err := a.WaitDelivered(within(t)); err != nil {
		t.Fatal(err)
	}
	r, at := Bound(t, a)
	Publish(t, a, Event("after"))
	got := r.Expect(t, 1)
	if len(got) != 1 || string(got[0].Payload) != "after" || got[0].Offset.Position <= at.Position {
		t.Errorf("bound at %d, received %q at %d", at.Position, got[0].Payload, got[0].Offset.Position)
	}
}

func bindTwice(t *testing.T, log Log) {
	a := log.Node(t)
	Bound(t, a)
	if _, err := a.Bind(&Recorder{}); err == nil {
		t.Error("a second Bind was accepted")
	}
}

func orderOneGoroutine(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	const n = 2000
	var want []string
	for i := range n {
		Publish(t, a, Event("%d", i))
		want = append(want, strconv.Itoa(i))
	}
	if got := Payloads(r.Expect(t, n)); !slices.Equal(got, want) {
		t.Errorf("%d deliveries, want %d in the order of publication", len(got), len(want))
	}
}

func orderOneNode(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	storm(t, []adapter.Adapter{a}, 8, 200)
	checkStorm(t, r.Expect(t, 1600), 8, 200)
}

func orderAllNodes(t *testing.T, log Log) {
	var nodes []adapter.Adapter
	var recorders []*Recorder
	for range 3 {
		a := log.Node(t)
		r, _ := Bound(t, a)
		nodes, recorders = append(nodes, a), append(recorders, r)
	}
	storm(t, nodes, 12, 150)
	first := recorders[0].Expect(t, 1800)
	checkStorm(t, first, 12, 150)
	for _, r := range recorders[1:] {
		got := r.Expect(t, 1800)
		if !slices.Equal(Payloads(got), Payloads(first)) {
			t.Error("two nodes received different orders")
		}
		for i := range min(len(got), len(first)) {
			if got[i].Offset != first[i].Offset {
				t.Fatalf("delivery %d has offset %v on one node and %v on another", i, got[i].Offset, first[i].Offset)
			}
		}
	}
}

// storm publishes n numbered events from each of several goroutines, spread over
// the nodes, and waits for their receipts.
func storm(t *testing.T, nodes []adapter.Adapter, publishers, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			var receipts []*adapter.Receipt
			for i := range n {
				r, err := nodes[p%len(nodes)].Publish(t.Context(), Event("%d %d", p, i))
				if err != nil {
					t.Errorf("Publish: %v", err)
					return
				}
				receipts = append(receipts, r)
				if i%5 == 4 { // otherwise a few batches would hold most of them
					_ = r.Wait(t.Context()) // checked below
				}
			}
			for _, r := range receipts {
				if err := r.Wait(t.Context()); err != nil {
					t.Errorf("Wait: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// checkStorm checks that each goroutine's events are there once, in its order.
func checkStorm(t *testing.T, got []adapter.Delivery, publishers, n int) {
	t.Helper()
	next := make([]int, publishers)
	for _, d := range got {
		var p, i int
		if _, err := fmt.Sscan(string(d.Payload), &p, &i); err != nil {
			t.Fatalf("payload %q: %v", d.Payload, err)
		}
		if i != next[p] {
			t.Fatalf("publisher %d: event %d, want %d", p, i, next[p])
		}
		next[p]++
	}
	for p, have := range next {
		if have != n {
			t.Errorf("publisher %d: %d of %d events", p, have, n)
		}
	}
}

func deliverEnvelopeUnchanged(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	large := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	sent := []*adapter.Envelope{
		{Kind: adapter.Event, Namespace: "/", Payload: []byte(`["e"]`)},
		{Kind: adapter.Volatile, Namespace: "/chat", Payload: []byte(`["v",1]`)},
		{Kind: adapter.SessionMoved, Namespace: "", Audience: adapter.Audience{Rooms: []string{"sid"}}},
		{Namespace: "/a", Audience: adapter.Audience{Rooms: []string{"r", "", "\x00\xff"}, Except: []string{"x", strings.Repeat("é", 300)}}},
		{Namespace: "/b", Payload: large, Attachments: [][]byte{{0, 1, 2, 255}, large}},
		{Namespace: "/b", Payload: []byte(`["small"]`), Attachments: [][]byte{{}}},
		{Namespace: "/b", Payload: []byte(`["traced"]`), TraceContext: strings.Repeat("t", adapter.MaxTraceContext)},
		{Namespace: "/b", Payload: []byte(`["traced"]`), TraceContext: strings.Repeat("t", adapter.MaxTraceContext+1)},
		{Namespace: "/b", Payload: []byte(`["traced"]`), TraceContext: "not UTF-8: \xff"},
		{Namespace: "/b", Payload: []byte(`["traced"]`), TraceContext: "\x00"},
	}
	for _, e := range sent {
		Publish(t, a, e)
	}
	for i := range 3 { // those with an invalid trace context
		sent[len(sent)-1-i] = &adapter.Envelope{Namespace: "/b", Payload: []byte(`["traced"]`)}
	}
	for i, d := range r.Expect(t, len(sent)) {
		if normal(d.Envelope) != normal(sent[i]) {
			t.Errorf("envelope %d was delivered changed", i)
		}
	}
}

// normal returns e in a form in which nil and empty are the same.
func normal(e *adapter.Envelope) string {
	return fmt.Sprintf("%d %q %q %q %q %q %q", e.Kind, e.Namespace, e.Audience.Rooms, e.Audience.Except, e.Payload, e.Attachments, e.TraceContext)
}

func receiptOffset(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	var receipts []*adapter.Receipt
	for i := range 300 {
		receipts = append(receipts, Publish(t, a, Event("%d", i)))
	}
	got := r.Expect(t, len(receipts))
	for i, receipt := range receipts {
		err, o := receipt.Wait(within(t)), receipt.Offset()
		if err != nil || o != got[i].Offset {
			t.Fatalf("receipt %d: %v, %v; delivered at %v", i, o, err, got[i].Offset)
		}
		if receipt.Withdraw() {
			t.Fatal("an envelope in the log was withdrawn")
		}
	}
}

func offsetRoundTrip(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	for i := range 50 {
		Publish(t, a, Event("%d", i))
	}
	for _, d := range r.Expect(t, 50) {
		if o, err := adapter.ParseOffset(d.Offset.String()); err != nil || o != d.Offset {
			t.Errorf("%+v became %+v, %v", d.Offset, o, err)
		}
	}
}

func waitDeliveredAfterPublish(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	for round := range 20 {
		for i := range 10 {
			Publish(t, a, Event("%d %d", round, i))
		}
		if err := a.WaitDelivered(within(t)); err != nil {
			t.Fatal(err)
		}
		if got := len(r.Deliveries()); got != 10*(round+1) {
			t.Fatalf("%d delivered when WaitDelivered returned, want %d", got, 10*(round+1))
		}
	}
}

func audienceRooms(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	none, ab, bc := []string(nil), []string{"a", "b"}, []string{"b", "c"}
	table := []struct {
		audience adapter.Audience
		rooms    []string
		want     bool
	}{
		{adapter.Audience{}, none, true},
		{adapter.Audience{}, ab, true},
		{adapter.Audience{Rooms: ab}, none, false},
		{adapter.Audience{Rooms: ab}, bc, true},
		{adapter.Audience{Rooms: []string{"x"}}, ab, false},
		{adapter.Audience{Except: bc}, none, true},
		{adapter.Audience{Except: bc}, ab, false},
		{adapter.Audience{Rooms: ab, Except: []string{"c"}}, bc, false},
		{adapter.Audience{Rooms: ab, Except: []string{"c"}}, ab, true},
		{adapter.Audience{Rooms: ab, Except: ab}, ab, false},
	}
	for _, row := range table {
		Publish(t, a, &adapter.Envelope{Namespace: "/", Audience: row.audience})
	}
	for i, d := range r.Expect(t, len(table)) {
		row := table[i]
		if d.Audience.Includes(row.rooms) != row.want || row.audience.Includes(row.rooms) != row.want {
			t.Errorf("%+v includes %v: want %v", row.audience, row.rooms, row.want)
		}
	}
}

func withdrawNeverDelivered(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	var want []string
	for i := range 500 {
		receipt := Publish(t, a, Event("%d", i))
		if i%3 != 0 || !receipt.Withdraw() {
			want = append(want, strconv.Itoa(i))
			continue
		}
		if receipt.Withdraw() {
			t.Fatal("a second Withdraw returned true")
		}
		if err := receipt.Wait(within(t)); !errors.Is(err, adapter.ErrWithdrawn) {
			t.Fatalf("Wait of a withdrawn envelope: %v", err)
		}
	}
	Publish(t, a, Event("end"))
	if err := a.WaitDelivered(within(t)); err != nil {
		t.Fatal(err)
	}
	if got := Payloads(r.Deliveries()); !slices.Equal(got, append(want, "end")) {
		t.Errorf("%d deliveries, want %d", len(got), len(want)+1)
	}
}

func withdrawStalledLog(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	resume := log.Stall(t)
	first := Publish(t, a, Event("first"))
	for !completesWithin(first, time.Millisecond) && first.Withdraw() {
		first = Publish(t, a, Event("first")) // until it is being written
	}
	if completesWithin(first, 100*time.Millisecond) {
		t.Fatal("the log did not stall")
	}
	second, third := Publish(t, a, Event("second")), Publish(t, a, Event("third"))
	if !second.Withdraw() {
		t.Error("an envelope that waits for an earlier one was not withdrawn")
	}
	resume()
	if err := third.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(within(t)); !errors.Is(err, adapter.ErrWithdrawn) || second.Offset() != (adapter.Offset{}) {
		t.Errorf("the withdrawn envelope: %v, %v", second.Offset(), err)
	}
	if err := a.WaitDelivered(within(t)); err != nil {
		t.Fatal(err)
	}
	got := r.Deliveries()
	if !slices.Equal(Payloads(got), []string{"first", "third"}) || got[1].Offset != third.Offset() {
		t.Errorf("delivered %q, the last one at %v; its receipt has %v", Payloads(got), got[len(got)-1].Offset, third.Offset())
	}
}

func publishFullQueue(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	resume := log.Stall(t)
	cause := errors.New("enough")
	var want []string
	var err error
	for i := range 1 << 20 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, cause)
		_, err = a.Publish(ctx, Event("%d", i))
		cancel()
		if err != nil {
			break
		}
		want = append(want, strconv.Itoa(i))
	}
	if !errors.Is(err, adapter.ErrQueueFull) || !errors.Is(err, cause) {
		t.Fatalf("Publish after %d envelopes: %v", len(want), err)
	}
	unblocked := make(chan error, 1)
	go func() { // ends when the queue has space, or with the test
		_, err := a.Publish(t.Context(), Event("late"))
		unblocked <- err
	}()
	resume()
	if err := <-unblocked; err != nil {
		t.Fatal(err)
	}
	if got := Payloads(r.Expect(t, len(want)+1)); !slices.Equal(got, append(want, "late")) {
		t.Errorf("%d deliveries, want %d", len(got), len(want)+1)
	}
}

func waitDeliveredContextEnds(t *testing.T, log Log) {
	a := log.Node(t)
	Bound(t, a)
	resume := log.Stall(t)
	defer resume()
	Publish(t, a, Event("stuck"))
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, cause)
	defer cancel()
	if err := a.WaitDelivered(ctx); !errors.Is(err, cause) {
		t.Errorf("WaitDelivered: %v", err)
	}
}

func publishTooLarge(t *testing.T, log Log) {
	a := log.Node(t)
	r, _ := Bound(t, a)
	_, err := a.Publish(within(t), &adapter.Envelope{Namespace: "/", Payload: make([]byte, log.MaxEnvelope+1)})
	if !errors.Is(err, adapter.ErrTooLarge) {
		t.Errorf("Publish: %v", err)
	}
	Publish(t, a, Event("next"))
	if got := Payloads(r.Expect(t, 1)); !reflect.DeepEqual(got, []string{"next"}) {
		t.Errorf("delivered %q", got)
	}
}
