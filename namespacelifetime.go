package socketio

import (
	"container/list"
	"context"
	"log/slog"
	"slices"

	"github.com/pgsocket/socketio/internal/boundary"
)

// namespaceState is why a namespace exists. The hub's lock guards it.
type namespaceState struct {
	parent    *ParentNamespace // nil: none
	exists    bool             // else a client has asked for it, and the decision is pending
	kept      bool             // the application has asked for it by name
	refs      int              // sockets that use it, including those whose middleware is running
	idle      *list.Element    // of hub.children.idle, while refs is 0
	announced chan struct{}    // closed when OnNamespace has run; nil until it begins
	failed    bool             // an OnNamespace failed, so no client may join; valid once announced is closed
}

// children are the namespaces that clients have created and that Of was not called
// for. The hub's lock guards them.
type children struct {
	count int
	idle  list.List // the namespaces without sockets: the one that has been so for longest first
}

// OnNamespace adds a function that is called for each namespace that is created from
// then on, by a client or by Of, before its first socket is connected.
//
// When such a function panics, the namespace may lack middleware, so no client may join
// it: clients that try get a CONNECT_ERROR with CodeInternal. A namespace that a client
// created is discarded, and the next attempt of a client creates a new one. One that Of
// returned stays closed.
func (s *Server) OnNamespace(h func(*Namespace)) {
	mustExist(h, "function for OnNamespace")
	s.parents.mu.Lock()
	defer s.parents.mu.Unlock()
	s.parents.created = append(slices.Clip(s.parents.created), h)
}

// existing returns the namespace with the name, or nil.
func (s *Server) existing(name string) *Namespace {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if n, ok := s.hub.namespaces[name]; ok && n.state.exists {
		return n
	}
	return nil
}

// acquire returns the namespace that a client connects to, which then stays until
// release. It may not exist yet, see ensureNamespace. acquire runs no code of the
// application. An *Error refuses the client.
func (s *Server) acquire(name string) (*Namespace, *Error) {
	h := s.hub
	h.mu.Lock()
	n, ok := h.namespaces[name]
	if ok && n.state.exists {
		n.retainLocked()
		h.mu.Unlock()
		return n, nil
	}
	h.mu.Unlock()

	parent, open := s.matching(name)
	if parent == nil && !open {
		return nil, errNoNamespace()
	}
	return s.getOrCreate(name, parent, (*Namespace).retainLocked)
}

// errTooManyNamespaces refuses a client.
func errTooManyNamespaces() *Error { return &Error{Message: "Too many namespaces"} }

// getOrCreate returns the namespace, which exists from now on if it has a parent. It fails
// when clients have created too many, unless then marks it as the application's.
func (s *Server) getOrCreate(name string, parent *ParentNamespace, then func(*Namespace)) (*Namespace, *Error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.namespaces[name]
	if !ok {
		n = newNamespace(s, name)
	}
	before := n.state
	then(n)
	born := parent != nil && !before.exists
	if born && !n.state.kept && !s.roomForLocked() {
		n.state = before
		return nil, errTooManyNamespaces()
	}
	h.namespaces[name] = n
	if born {
		n.table.Store(parent.table.Load())
		n.state.parent, n.state.exists = parent, true
	}
	n.countLocked(before)
	return n, nil
}

// roomForLocked reports whether clients may create one more namespace. If necessary it
// removes one without sockets.
func (s *Server) roomForLocked() bool {
	c := &s.hub.children
	for c.count >= s.opts.MaxDynamicNamespaces {
		oldest, ok := c.idle.Front(), c.idle.Len() > 0
		if !ok {
			return false
		}
		n, _ := oldest.Value.(*Namespace)
		n.removeLocked()
	}
	return true
}

// child reports whether a client has created the namespace, and the application has not
// asked for it.
func (e *namespaceState) child() bool { return e.exists && !e.kept }

// countLocked counts a namespace that has become a child, or is no child any more.
func (n *Namespace) countLocked(before namespaceState) {
	c := &n.server.hub.children
	switch was, is := before.child(), n.state.child(); {
	case is && !was:
		c.count++
	case was && !is:
		c.count--
		n.unlistIdleLocked()
	}
}

// retainLocked adds a reference.
func (n *Namespace) retainLocked() {
	n.state.refs++
	n.unlistIdleLocked()
}

// unlistIdleLocked removes the namespace from the list of those that may be removed.
func (n *Namespace) unlistIdleLocked() {
	if n.state.idle != nil {
		n.server.hub.children.idle.Remove(n.state.idle)
		n.state.idle = nil
	}
}

func (n *Namespace) removeLocked() {
	n.unlistIdleLocked()
	if n.state.child() {
		n.server.hub.children.count--
	}
	delete(n.server.hub.namespaces, n.name)
}

// release removes a reference to the namespace.
func (n *Namespace) release() {
	h := n.server.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	n.state.refs--
	switch {
	case n.state.refs > 0 || n.state.kept || h.namespaces[n.name] != n:
	case !n.state.exists || n.server.opts.CleanupEmptyChildNamespaces:
		n.removeLocked()
	default:
		n.state.idle = h.children.idle.PushBack(n)
	}
}

// ensureNamespace creates the socket's namespace, if it does not exist and the application
// allows it. An *Error is a refusal.
func (s *Socket) ensureNamespace(ctx context.Context) error {
	n := s.namespace
	n.server.hub.mu.Lock()
	exists := n.state.exists
	n.server.hub.mu.Unlock()
	if !exists {
		parent, err := s.parent(ctx)
		if err != nil {
			return err
		}
		// It is n itself, to which the socket has a reference; or another one, if n was
		// discarded meanwhile because a function of OnNamespace had failed.
		made, refusal := n.server.getOrCreate(n.name, parent, (*Namespace).retainLocked)
		if refusal != nil {
			return n.server.refused(n.name, refusal)
		}
		made.release()
	}
	return n.announce(ctx)
}

// errNotBegun refuses a client: a function of OnNamespace has failed for the namespace. Its
// connection, which may have other namespaces, stays.
func errNotBegun() *Error { return &Error{Code: CodeInternal, Message: "Namespace not available"} }

// announce calls the functions of OnNamespace for the namespace, once. A second caller
// waits until that is done. The error is errNotBegun, or the cause of ctx.
func (n *Namespace) announce(ctx context.Context) error {
	h := n.server.hub
	h.mu.Lock()
	announced := n.state.announced
	if announced == nil {
		n.state.announced = make(chan struct{})
	}
	h.mu.Unlock()
	if announced == nil {
		n.begin(ctx)
		announced = n.state.announced
	}
	select {
	case <-announced:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if n.state.failed {
		return errNotBegun()
	}
	return nil
}

// begin calls the functions of OnNamespace. After one that fails the namespace is
// closed, because its middleware may be missing.
func (n *Namespace) begin(ctx context.Context) {
	defer close(n.state.announced)
	n.server.parents.mu.Lock()
	created := n.server.parents.created
	n.server.parents.mu.Unlock()
	for _, onNamespace := range created {
		err := boundary.Do(func() { onNamespace(n) })
		if err == nil {
			continue
		}
		n.server.opts.Logger.ErrorContext(ctx, "namespace handler failed: the namespace is closed",
			slog.String("namespace", n.name), slog.Any("error", err))
		h := n.server.hub
		h.mu.Lock()
		n.state.failed = true
		if !n.state.kept && h.namespaces[n.name] == n {
			n.removeLocked()
		}
		h.mu.Unlock()
		return
	}
}
