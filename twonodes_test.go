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
	someNodes(t, 2, func(t *testing.T, log *second, nodes []*socketio.Server) { test(t, log, nodes[0], nodes[1]) })
}

// threeNodes is twoNodes with a third node.
func threeNodes(t *testing.T, test func(t *testing.T, log *second, a, b, c *socketio.Server)) {
	t.Helper()
	someNodes(t, 3, func(t *testing.T, log *second, nodes []*socketio.Server) { test(t, log, nodes[0], nodes[1], nodes[2]) })
}

func someNodes(t *testing.T, count int, test func(t *testing.T, log *second, nodes []*socketio.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log := &second{Memory: memory}
		store := &unbound{recovery.NewMemory(memory)}
		opts := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store, Snapshots: memory}}
		nodes := make([]*socketio.Server, count)
		for i := range nodes {
			nodes[i] = newServer(opts)
		}
		hung := time.AfterFunc(24*time.Hour, func() { panic("the test waits for something that does not come") })
		defer hung.Stop()
		test(t, log, nodes)
		for _, s := range nodes {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// second lets servers share a log in memory; the second may lag behind.
type second struct {
	*adapter.Memory

	// onPublish, if set, returns what is published in place of an envelope: nil if it is lost.
	onPublish func(*adapter.Envelope) (*adapter.Envelope, error)

	append chan struct{} // if set, WaitDelivered waits until it is closed

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
	for i, l := range s.locals {
		if i == 1 && s.lag.Load() {
			s.kept = append(s.kept, batch)
			continue
		}
		l.Deliver(batch)
	}
}

func (s *second) WaitDelivered(ctx context.Context) error {
	if s.append != nil {
		<-s.append
	}
	return s.Memory.WaitDelivered(ctx)
}

func (s *second) Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	if s.onPublish != nil {
		var err error
		if e, err = s.onPublish(e); e == nil {
			return adapter.Completed(err), err
		}
	}
	return s.Memory.Publish(ctx, e)
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

// catchUp ends the lag.
func (s *second) catchUp() {
	synctest.Wait()
	s.lag.Store(false)
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
