package socketio_test

import (
	"context"
	"errors"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
)

// A queue is a log that sends nothing: all that is published can be withdrawn.
type queue struct{ withdrawn []int }

func (q *queue) Publish(context.Context, *adapter.Envelope) (*adapter.Receipt, error) {
	o := adapter.NewOutcome()
	o.Withdraw = func(index int) bool {
		q.withdrawn = append(q.withdrawn, index)
		return len(q.withdrawn) == 1
	}
	return o.Receipt(0), nil
}

func TestEmitAsync_Withdraw(t *testing.T) {
	t.Parallel()
	log := &queue{}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r := said.EmitAsync(socketio.NewEmitter(log), "x")
	if err := r.Wait(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("queued: %v, want %v", err, context.Canceled)
	}
	if !r.Withdraw() || r.Withdraw() {
		t.Error("Withdraw does not return true once")
	}
	if err := r.Wait(t.Context()); !errors.Is(err, socketio.ErrWithdrawn) {
		t.Errorf("withdrawn: %v, want %v", err, socketio.ErrWithdrawn)
	}
}
