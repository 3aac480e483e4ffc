package socketio

import (
	"context"
	"iter"
	"regexp"
	"slices"
	"sync"
)

// A ParentNamespace stands for namespaces that are created when a client connects to
// them. Each begins with the functions that are registered on the parent at that
// moment. Get it with [Server.OfPattern] or [Server.OfFunc].
type ParentNamespace struct {
	server  *Server
	pattern *regexp.Regexp // nil: ask
	ask     func(ctx context.Context, name string, h *Handshake) (bool, error)
	registry
}

// parents are the parent namespaces of a server, in the order in which they are asked.
type parents struct {
	mu      sync.Mutex
	all     []*ParentNamespace
	created []func(*Namespace)
}

// OfPattern returns the parent of the namespaces whose names the pattern
// matches, anywhere unless it is anchored. Clients create as many of them as the
// pattern and Options.MaxDynamicNamespaces allow, see also
// Options.CleanupEmptyChildNamespaces.
//
// When a client connects to a namespace that does not exist, the parents are asked
// in the order in which they were added. Namespaces that Of creates become children
// of the first parent whose pattern matches, too.
func (s *Server) OfPattern(pattern *regexp.Regexp) *ParentNamespace {
	mustExist(pattern, "pattern for OfPattern")
	return s.addParent(&ParentNamespace{server: s, pattern: pattern})
}

// OfFunc returns the parent of the namespaces that the function allows. It is called
// when a client connects to a namespace that does not exist, and not once it exists:
// use middleware to decide which clients may join. The function may block. An *Error
// means no. Any other error is logged and, unless a later parent allows the
// namespace, closes the connection: the client reconnects, and asks again.
func (s *Server) OfFunc(ask func(ctx context.Context, name string, h *Handshake) (bool, error)) *ParentNamespace {
	mustExist(ask, "function for OfFunc")
	return s.addParent(&ParentNamespace{server: s, ask: ask})
}

// Namespaces yields the parent's namespaces that exist on this node, as they
// were when the iteration began. To emit to all of them, emit to each.
func (p *ParentNamespace) Namespaces() iter.Seq[*Namespace] {
	h := p.server.hub
	h.mu.Lock()
	var children []*Namespace
	for _, n := range h.namespaces {
		if n.state.exists && n.state.parent == p {
			children = append(children, n)
		}
	}
	h.mu.Unlock()
	return slices.Values(children)
}

func (s *Server) addParent(p *ParentNamespace) *ParentNamespace {
	p.init()
	s.parents.mu.Lock()
	defer s.parents.mu.Unlock()
	s.parents.all = append(slices.Clip(s.parents.all), p)
	return p
}

func (s *Server) everyParent() []*ParentNamespace {
	s.parents.mu.Lock()
	defer s.parents.mu.Unlock()
	return s.parents.all
}

// matching returns the first parent whose pattern matches, and whether a function has
// to be asked before that.
func (s *Server) matching(name string) (parent *ParentNamespace, open bool) {
	for _, p := range s.everyParent() {
		switch {
		case p.pattern == nil:
			return nil, true
		case p.pattern.MatchString(name):
			return p, false
		}
	}
	return nil, false
}

// parent returns the first parent that allows the socket's namespace; an *Error if there
// is none, or the error of a parent that could not decide.
func (s *Socket) parent(ctx context.Context) (*ParentNamespace, error) {
	name := s.namespace.name
	var failed error
	for _, p := range s.namespace.server.everyParent() {
		allowed := p.pattern != nil && p.pattern.MatchString(name)
		if p.pattern == nil {
			if err := protect(func() (err error) { allowed, err = p.ask(ctx, name, s.Handshake()); return err }); err != nil {
				if _, decided := asType[*Error](err); !decided {
					failed = err
				}
				continue
			}
		}
		if allowed {
			return p, nil
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, s.namespace.server.refused(name, errNoNamespace())
}
