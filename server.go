package socketio

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/transport"
)

// A Server is one node: an http.Handler that Socket.IO clients connect to. Its
// other methods are those of the namespace "/".
type Server struct {
	*Namespace

	opts           Options
	sender         *sender
	hub            *hub
	engine         *transport.Server
	work           tasks
	claimPermits   semaphore // of sockets that are being connected: before the middleware
	connectPermits semaphore // and after it
	historyPermits semaphore // of histories that are being read and encoded
	presenceLists  presenceLists
	closing        atomic.Bool
	requests       atomic.Uint64 // the latest
	serverRequests chan struct{} // one element for each request of another node that is being handled
	halted         atomic.Bool   // Shutdown has timed out: events that wait are dropped
	unhandled      atomic.Int64  // events of clients that wait
	presences      presenceOrder
	parents        parents
	counters       *counters
	log            *boundary.Log

	lifetime context.Context //nolint:containedctx // the server's lifetime, for work that belongs to no socket
	end      context.CancelCauseFunc
}

// NewServer returns a server that is ready to serve. It panics if the options
// contradict each other, or if their Adapter or Store belongs to another server
// already; Options.Validate checks the first in advance.
func NewServer(opts *Options) *Server {
	s, err := newServer(opts)
	if err != nil {
		panic(err) //nolint:forbidigo // a programmer's mistake at start-up
	}
	return s
}

func newServer(opts *Options) (*Server, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Server{opts: opts.withDefaults(), counters: newCounters()}
	s.log = boundary.NewLog(s.opts.Logger, s.opts.LogsPerSecond)
	s.opts.Logger = s.log.Logger
	s.hub = &hub{
		id:    newID(),
		store: s.opts.Recovery.Store, logger: s.opts.Logger,
		namespaces: make(map[string]*Namespace), sessions: make(map[string]*member), claims: make(map[string]*claimState),
		repeats:   allRepeats{of: make(map[string]*repeats)},
		restoring: make(map[*member]struct{}), pendingCalls: make(map[uint64]*pendingCall),
	}
	s.hub.server, s.presenceLists.server = s, s
	s.hub.expired = &callbackQueue[*ExpiredSession]{work: &s.work, call: s.callOnExpired, dropped: s.logMissedExpired}
	s.claimPermits, s.connectPermits = make(semaphore, s.opts.ConnectsAtOnce), make(semaphore, s.opts.ConnectsAtOnce)
	s.historyPermits = make(semaphore, s.opts.ConnectsAtOnce)
	s.serverRequests = make(chan struct{}, requestsAtOnce)
	s.sender = &sender{
		log: s.opts.Adapter, timeout: s.opts.EmitTimeout, server: s, tracing: newTracing(s.opts.Tracer, s.opts.Logger),
	}
	if s.sender.tracing != nil {
		s.hub.traced = &callbackQueue[tracedDelivery]{work: &s.work, call: s.traceDelivery, dropped: s.logUntraced}
	}
	s.lifetime, s.end = context.WithCancelCause(context.Background())
	s.Namespace = s.Of("/")
	engine, err := transport.NewServer(s.opts.transport(), s.accept)
	if err != nil {
		return nil, err
	}
	s.engine = engine
	if s.hub.store != nil {
		if err := s.hub.store.Bind(s.hub); err != nil {
			return nil, err
		}
	}
	at, err := s.opts.Adapter.Bind(s.hub)
	if err != nil {
		return nil, err
	}
	s.hub.start(at)
	return s, nil
}

// ServeHTTP implements http.Handler. Mount the server at "/socket.io/", the default
// path of clients, or at the path that they are configured with. ServeHTTP does not
// check the path. For clients with the option addTrailingSlash: false mount it at
// "/socket.io" as well: an http.ServeMux redirects from there to "/socket.io/", and
// WebSocket clients do not follow redirects.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.engine.ServeHTTP(w, r) }

func (s *Server) accept(session *transport.Session, r *http.Request) transport.Receiver {
	if c := newConn(s, session, r); c != nil {
		return c
	}
	return nil
}

// Of returns the namespace with the name, and creates it at the first call. A
// client that connects to a namespace that was not created is refused, unless a
// [ParentNamespace] allows it.
func (s *Server) Of(name string) *Namespace {
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	parent, _ := s.matching(name)
	created := false
	n, _ := s.getOrCreate(name, parent, func(n *Namespace) { // the application asks for it: no limit applies
		created = n.state.announced == nil
		n.state.exists, n.state.kept = true, true
	})
	if created {
		_ = n.announce(context.Background()) // without a deadline; a failure is logged
	}
	return n
}

// admit waits until a session may be changed after what this node has emitted so far.
func (s *Server) admit(ctx context.Context) error {
	if err := s.opts.Adapter.WaitDelivered(ctx); err != nil {
		return err
	}
	return s.admitChange(ctx) // last, because its result is soon out of date
}

// admitChange waits until the store accepts a change of a session.
func (s *Server) admitChange(ctx context.Context) error {
	if s.hub.store == nil {
		return nil
	}
	return s.hub.store.Admit(ctx)
}

// Connections returns the number of clients that are connected to this node.
func (s *Server) Connections() int { return s.engine.Len() }
