package main

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"syscall"
	"time"
)

// A meter counts received bytes, and wakes a goroutine that waits for a number of them.
type meter struct {
	n    atomic.Int64
	want atomic.Int64
	ring chan struct{}
}

func newMeter() *meter {
	m := &meter{ring: make(chan struct{}, 1)}
	m.want.Store(math.MaxInt64)
	return m
}

func (m *meter) add(n int) {
	if m.n.Add(int64(n)) >= m.want.Load() {
		m.want.Store(math.MaxInt64)
		select {
		case m.ring <- struct{}{}:
		default:
		}
	}
}

// await waits until so many bytes have been received in all, and returns how many have.
func (m *meter) await(ctx context.Context, bytes int64) (int64, error) {
	overdue := time.NewTimer(2 * time.Minute)
	defer overdue.Stop()
	for {
		m.want.Store(bytes)
		if n := m.n.Load(); n >= bytes {
			return n, nil
		}
		select {
		case <-m.ring:
		case <-overdue.C:
			return 0, errors.New("deliveries are missing")
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// processorTime returns the processor time of this process.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
