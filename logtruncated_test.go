package socketio_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
)

// losable is a log that can lose its end, for several servers. Publish delivers.
type losable struct {
	mu      sync.Mutex
	records []adapter.Delivery // at the positions 1, 2, …
	branch  uint32
	locals  []adapter.Local
}

func (l *losable) Bind(local adapter.Local) (adapter.Offset, error) {
	l.locals = append(l.locals, local)
	return adapter.Offset{Log: 1}, nil
}

func (l *losable) Publish(_ context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := adapter.Delivery{Envelope: e, Offset: adapter.Offset{Log: 1, Position: adapter.Position(len(l.records) + 1), Check: l.branch}}
	l.records = append(l.records, d)
	for _, local := range l.locals {
		local.Deliver([]adapter.Delivery{d})
	}
	return adapter.CompletedAt(d.Offset), nil
}

func (l *losable) WaitDelivered(context.Context) error { return nil }

func (l *losable) Read(_ context.Context, from, to adapter.Position) iter.Seq2[[]adapter.Delivery, error] {
	return func(yield func([]adapter.Delivery, error) bool) {
		l.mu.Lock()
		end := min(int(to), len(l.records))
		batch := slices.Clone(l.records[min(int(from), end):end])
		l.mu.Unlock()
		for _, d := range batch {
			if !yield([]adapter.Delivery{d}, nil) {
				return
			}
		}
	}
}

// ReadRoom yields everything.
func (l *losable) ReadRoom(_ context.Context, _, _ string, to adapter.Position) iter.Seq2[adapter.PastDelivery, error] {
	return func(yield func(adapter.PastDelivery, error) bool) {
		l.mu.Lock()
		past := slices.Clone(l.records[:min(int(to), len(l.records))])
		l.mu.Unlock()
		for _, d := range slices.Backward(past) {
			if !yield(adapter.PastDelivery{Delivery: d, At: time.Now()}, nil) {
				return
			}
		}
	}
}

func (l *losable) Nodes(context.Context) ([]adapter.Node, error) {
	var nodes []adapter.Node
	for _, local := range l.locals {
		nodes = append(nodes, adapter.Node{ID: local.ID()})
	}
	return nodes, nil
}

// lose removes the newest records.
func (l *losable) lose(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = slices.Clip(l.records[:len(l.records)-n])
	l.branch++
	for _, local := range l.locals {
		local.LogTruncated(adapter.Offset{Log: 1, Position: adapter.Position(len(l.records)), Check: l.branch})
	}
}

// Server-side events at positions that the log has lost before, while a handler runs, are
// handled once.
func TestServerEvent_LogLosesItsEndWhileAHandlerRuns_NextAreHandled(t *testing.T) {
	t.Parallel()
	const told socketio.ServerEvent[string] = "told"
	synctest.Test(t, func(t *testing.T) {
		log := &losable{}
		opts := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Disabled: true}}
		a, b := newServer(opts), newServer(opts)
		var handled []string
		next := make(chan struct{})
		told.On(b.Namespace, func(_ context.Context, _, v string) error {
			handled = append(handled, v)
			<-next
			return nil
		})
		tell := func(v string) { do(t, told.Emit(t.Context(), a, v)) }
		tell("1")
		synctest.Wait()
		tell("2")
		tell("3")
		tell("4")
		next <- struct{}{}
		synctest.Wait() // 2 is being handled, in a range that ends with 4
		log.lose(2)
		tell("5")
		synctest.Wait()
		tell("6")
		tell("7")
		close(next)
		synctest.Wait()
		if got := fmt.Sprint(handled); got != "[1 2 5 6 7]" {
			t.Errorf("handled %s", got)
		}
		do(t, a.Shutdown(t.Context()))
		do(t, b.Shutdown(t.Context()))
	})
}

// Answers are received, too.
func TestServerRequest_LogLosesItsEnd_AnswersAfterItAreTaken(t *testing.T) {
	t.Parallel()
	const ask socketio.ServerRequest[string, string] = "ask"
	synctest.Test(t, func(t *testing.T) {
		log := &losable{}
		opts := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Disabled: true}}
		a, b, c := newServer(opts), newServer(opts), newServer(opts)
		fast, slow := make(chan struct{}), make(chan struct{})
		ask.On(b.Namespace, func(context.Context, string, string) (string, error) { <-fast; return "fast", nil })
		ask.On(c.Namespace, func(context.Context, string, string) (string, error) { <-slow; return "slow", nil })
		for range 5 { // of a log that is about to lose them
			emit(t, a, "x")
		}
		got := make(chan string, 1)
		go func() {
			var answers []string
			for r, err := range ask.Call(t.Context(), a.Namespace, "?") {
				answers = append(answers, fmt.Sprint(r.Value, err))
			}
			got <- fmt.Sprint(answers)
		}()
		synctest.Wait()
		for range 5 {
			emit(t, a, "x")
		}
		close(fast)
		synctest.Wait()
		log.lose(6) // after the request, including the answer that was received
		close(slow)
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case answers := <-got:
			if answers != "[fast<nil> slow<nil>]" && answers != "[fast <nil> slow <nil>]" {
				t.Errorf("answers %s", answers)
			}
		default:
			t.Error("the answer after the loss was not received")
		}
		for _, s := range []*socketio.Server{a, b, c} {
			do(t, s.Shutdown(t.Context()))
		}
	})
}
