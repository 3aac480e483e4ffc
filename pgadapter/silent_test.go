package pgadapter

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/pgtest"
)

// A silencer makes a connection carry nothing more when a statement begins on it that contains the text.
type silencer struct {
	wire *wire
	text string
	mu   sync.Mutex
	seen bool          // there was such a statement
	arm  chan struct{} // closed when it happens; nil: not now
}

func (s *silencer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(data.SQL, s.text) {
		return ctx
	}
	s.seen = true
	if s.arm != nil {
		s.wire.silence(conn.PgConn().Conn().LocalAddr())
		close(s.arm)
		s.arm = nil
	}
	return ctx
}

func (*silencer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *silencer) hasSeen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// next returns a channel that is closed when the next such statement has begun.
func (s *silencer) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arm = make(chan struct{})
	return s.arm
}

// The connection that reads the log carries nothing from one of its statements on, and is not closed.
func TestTail_SilentConnection_IsReplaced(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"listen": "listen ", "echo": "set idle_session_timeout", "register": "Registers a node"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := newBench(t).named(t)
			b, w := plain.through(t)
			s := &silencer{wire: w, text: text}
			b.withPool(t, func(c *pgxpool.Config) { c.ConnConfig.Tracer = s })
			dbs, recorders := b.nodes(t, 1, nil)
			eventually(t, "the node has executed the statement when it opened", s.hasSeen)
			silent := s.next()
			if name == "register" {
				plain.exec(t, "delete from nodes where id = $1", dbs[0].node.id.Load())
				dbs[0].node.markFenced(dbs[0].node.id.Load())
			} else {
				plain.terminate(t, "")
			}
			<-silent
			adaptertest.Publish(t, dbs[0], adaptertest.Event("after"))
			recorders[0].Expect(t, 1)
			eventually(t, "the node is well", func() bool { return dbs[0].Health() == nil })
		})
	}
}

// Health does not wait for the limit of the statement that has no answer. The server is a private one, without
// idle_session_timeout: it would close the silent connections.
func TestHealth_SilentConnection(t *testing.T) {
	t.Parallel()
	b, w := newBench(t, pgtest.On(newServer(t, "none", nil).DSN())).through(t)
	db := b.open(t, &Options{Lease: time.Second, PollInterval: 100 * time.Millisecond, Retention: time.Minute})
	eventually(t, "the node is well", func() bool { return db.Health() == nil })
	w.silenceAll()
	var err error
	eventually(t, "Health fails because of the log", func() bool {
		err = db.Health()
		return err != nil && strings.Contains(err.Error(), "the log")
	})
	if !strings.Contains(err.Error(), errLags.Error()) {
		t.Errorf("%v", err)
	}
	eventually(t, "the node is well again", func() bool { return db.Health() == nil })
}
