package adapter_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio/adapter"
)

func isDone(r *adapter.Receipt) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

func TestOutcome_CompleteAt_ConsecutiveOffsets(t *testing.T) {
	t.Parallel()
	o := adapter.NewOutcome()
	receipts := []*adapter.Receipt{o.Receipt(0), o.Receipt(1), o.Receipt(2)}
	for i, r := range receipts {
		if isDone(r) || r.Offset() != (adapter.Offset{}) {
			t.Errorf("receipt %d has a result before the outcome", i)
		}
	}
	at := adapter.Offset{Position: 7, Log: 3, Check: 5}
	o.CompleteAt(at)
	for i, r := range receipts {
		want := at
		want.Position += adapter.Position(i)
		if err := r.Wait(t.Context()); err != nil || !isDone(r) || r.Offset() != want {
			t.Errorf("receipt %d: %v, %v, want %v", i, r.Offset(), err, want)
		}
		if r.Withdraw() {
			t.Errorf("receipt %d was withdrawn from an outcome without Withdraw", i)
		}
	}
}

func TestOutcome_Complete_Error(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	o := adapter.NewOutcome()
	o.Complete(refused)
	for i := range 2 {
		r := o.Receipt(i)
		if err := r.Wait(t.Context()); !errors.Is(err, refused) || r.Offset() != (adapter.Offset{}) {
			t.Errorf("receipt %d: %v, %v", i, r.Offset(), err)
		}
	}
}

func TestReceipt_Completed(t *testing.T) {
	t.Parallel()
	refused, at := errors.New("refused"), adapter.Offset{Position: 7, Log: 3, Check: 5}
	table := map[string]struct {
		receipt *adapter.Receipt
		err     error
		at      adapter.Offset
	}{
		"Completed nil":   {receipt: adapter.Completed(nil)},
		"Completed error": {receipt: adapter.Completed(refused), err: refused},
		"CompletedAt":     {receipt: adapter.CompletedAt(at), at: at},
	}
	for name, row := range table {
		r := row.receipt
		if err := r.Wait(t.Context()); !errors.Is(err, row.err) || !isDone(r) || r.Offset() != row.at || r.Withdraw() {
			t.Errorf("%s: %v, %v", name, r.Offset(), err)
		}
	}
}

// The result counts if both are there: the write took effect.
func TestReceipt_Wait_ContextEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	o := adapter.NewOutcome()
	r := o.Receipt(0)
	if err := r.Wait(ctx); !errors.Is(err, cause) {
		t.Errorf("without a result: %v, want %v", err, cause)
	}
	o.Complete(nil)
	for range 100 {
		if err := r.Wait(ctx); err != nil {
			t.Fatalf("with a result: %v", err)
		}
	}
}

func TestOutcome_OnAwaited_CalledOnce(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, wait := range map[string]func(*adapter.Receipt){
		"Wait": func(r *adapter.Receipt) { _ = r.Wait(ended) },
		"Done": func(r *adapter.Receipt) { r.Done() },
	} {
		calls := 0
		o := adapter.NewOutcome()
		o.OnAwaited = func() { calls++ }
		first, second := o.Receipt(0), o.Receipt(1)
		first.Offset()
		if calls != 0 {
			t.Errorf("%s: called before any caller waited", name)
		}
		wait(second)
		wait(first)
		if calls != 1 {
			t.Errorf("%s: called %d times, want 1", name, calls)
		}
	}
}

func TestOutcome_Withdraw_Index(t *testing.T) {
	t.Parallel()
	var got []int
	o := adapter.NewOutcome()
	o.Withdraw = func(index int) bool {
		got = append(got, index)
		return index == 1
	}
	kept, withdrawn := o.Receipt(0), o.Receipt(1)
	if kept.Withdraw() || !withdrawn.Withdraw() {
		t.Error("Receipt.Withdraw does not return the result of Outcome.Withdraw")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := withdrawn.Wait(ended); !errors.Is(err, adapter.ErrWithdrawn) {
		t.Errorf("withdrawn: %v before the outcome", err)
	}
	o.CompleteAt(adapter.Offset{Position: 1, Log: 1})
	if len(got) != 2 || got[0] != 0 || got[1] != 1 {
		t.Errorf("called with %v", got)
	}
	if err := withdrawn.Wait(t.Context()); !errors.Is(err, adapter.ErrWithdrawn) || withdrawn.Offset() != (adapter.Offset{}) {
		t.Errorf("withdrawn: %v, %v", withdrawn.Offset(), err)
	}
	if err := kept.Wait(t.Context()); err != nil || kept.Offset() == (adapter.Offset{}) {
		t.Errorf("not withdrawn: %v, %v", kept.Offset(), err)
	}
}

// The engine completes the other writes of the batch while Withdraw of one returns true to its caller.
func TestReceipt_Withdraw_OutcomeKnownMeanwhile(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*adapter.Receipt) error{
		"Wait": func(r *adapter.Receipt) error { return r.Wait(context.Background()) },
		"Done": func(r *adapter.Receipt) error {
			<-r.Done()
			return r.Wait(context.Background())
		},
		"Offset": func(r *adapter.Receipt) error {
			if r.Offset() == (adapter.Offset{}) {
				return adapter.ErrWithdrawn
			}
			return nil
		},
	} {
		for range 100 {
			o, results := adapter.NewOutcome(), make(chan error, 1)
			r := o.Receipt(0)
			o.Withdraw = func(int) bool {
				o.CompleteAt(adapter.Offset{Position: 1, Log: 1})
				reading := make(chan struct{})
				go func() {
					close(reading)
					results <- read(r)
				}()
				<-reading
				return true
			}
			if !r.Withdraw() {
				t.Fatalf("%s: not withdrawn", name)
			}
			if err := <-results; !errors.Is(err, adapter.ErrWithdrawn) {
				t.Fatalf("%s: %v, and Withdraw has returned true", name, err)
			}
		}
	}
}

func TestReceipt_Withdraw_WakesCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := adapter.NewOutcome()
		o.Withdraw = func(index int) bool { return index < 2 }
		receipts := []*adapter.Receipt{o.Receipt(0), o.Receipt(1), o.Receipt(2)}
		results, done := make([]error, len(receipts)), make([]bool, len(receipts))
		for i, r := range receipts {
			results[i] = errors.New("waits")
			go func() { results[i] = r.Wait(t.Context()) }()
			go func() {
				<-r.Done()
				done[i] = true
			}()
		}
		synctest.Wait()
		if !receipts[0].Withdraw() || !receipts[1].Withdraw() || receipts[2].Withdraw() {
			t.Error("Receipt.Withdraw does not return the result of Outcome.Withdraw")
		}
		synctest.Wait()
		for i, r := range receipts {
			if withdrawn := i < 2; errors.Is(results[i], adapter.ErrWithdrawn) != withdrawn || done[i] != withdrawn || isDone(r) != withdrawn {
				t.Errorf("receipt %d: Wait returns %v, Done is closed: %v", i, results[i], done[i])
			}
		}
		o.Complete(nil)
		synctest.Wait()
		if results[2] != nil || !done[2] || !isDone(receipts[2]) {
			t.Errorf("the receipt that was not withdrawn: Wait returns %v, Done is closed: %v", results[2], done[2])
		}
	})
}

// The receipts of a batch share one channel, and a result that is known needs none.
//
//nolint:paralleltest // AllocsPerRun counts what the whole process allocates
func TestReceipt_Allocations(t *testing.T) {
	const n = 64
	var receipts [n]*adapter.Receipt
	batch := testing.AllocsPerRun(100, func() {
		o := adapter.NewOutcome()
		for i := range receipts {
			receipts[i] = o.Receipt(i)
		}
		o.Complete(nil)
	})
	if batch != n+1 { // the outcome with its first receipt, the channel, the other receipts
		t.Errorf("%v allocations for a batch of %d, want %d", batch, n, n+1)
	}
	known := testing.AllocsPerRun(100, func() {
		receipts[0] = adapter.Completed(nil)
		_ = receipts[0].Wait(t.Context())
	})
	if known != 1 {
		t.Errorf("%v allocations for a result that is known, want 1", known)
	}
}
