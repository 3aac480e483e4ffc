package socketio_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// twoNodes runs a test in virtual time with two nodes that share a log and a store.
func twoNodes(t *testing.T, test func(t *testing.T, log *second, a, b *socketio.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log := &second{Memory: memory}
		store := &unbound{recovery.NewMemory(memory)}
		opts := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store, Snapshots: memory}}
		a, b := newServer(opts), newServer(opts)
		hung := time.AfterFunc(24*time.Hour, func() { panic("the test waits for something that does not come") })
		defer hung.Stop()
		test(t, log, a, b)
		for _, s := range []*socketio.Server{a, b} {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// second lets two servers share a log in memory; the second may lag behind.
type second struct {
	*adapter.Memory

	locals []adapter.Local
	bound  []adapter.Position
	lag    atomic.Bool
	kept   [][]adapter.Delivery
}

func (s *second) Bind(l adapter.Local) (adapter.Offset, error) {
	_, head := s.Extent()
	s.locals, s.bound = append(s.locals, l), append(s.bound, head)
	if len(s.locals) == 1 {
		return s.Memory.Bind(s)
	}
	return s.Offset(head), nil
}

func (s *second) Deliver(batch []adapter.Delivery) {
	s.locals[0].Deliver(batch)
	if s.lag.Load() {
		s.kept = append(s.kept, batch)
		return
	}
	if len(s.locals) > 1 {
		s.locals[1].Deliver(batch)
	}
}

func (s *second) ID() string { return "second" }

func (s *second) LogTruncated(adapter.Offset) {}

func (s *second) LogGap(adapter.Offset, error) {}

func (s *second) Nodes(context.Context) ([]adapter.Node, error) {
	var nodes []adapter.Node
	for i, l := range s.locals {
		nodes = append(nodes, adapter.Node{ID: l.ID(), Name: fmt.Sprint("node-", i), StartPosition: s.bound[i]})
	}
	return nodes, nil
}

func (s *second) catchUp() {
	synctest.Wait()
	for _, batch := range s.kept {
		s.locals[1].Deliver(batch)
	}
	s.kept = nil
}

// unbound lets two servers share a store in memory.
type unbound struct{ *recovery.Memory }

func (u *unbound) Bind(recovery.Node) error { return nil }

func (u *unbound) Resume(ctx context.Context, c recovery.ResumeRequest) (*recovery.Session, error) {
	s, err := u.Memory.Resume(ctx, c)
	if s != nil {
		s.OwnedElsewhere = true
	}
	return s, err
}
