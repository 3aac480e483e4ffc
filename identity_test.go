package socketio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// byToken uses the auth object's token as the identity; "down" and "forged" fail.
func byToken(_ context.Context, h *socketio.Handshake) (string, error) {
	var auth struct{ Token string }
	if err := h.DecodeAuth(&auth); err != nil {
		return "", err
	}
	if auth.Token == "forged" {
		return "", &socketio.Error{Code: "forged"}
	}
	return auth.Token, nil
}

// as the peer's credentials with another token are.
func (p *peer) as(token string) string {
	return strings.TrimSuffix(p.ticket(), "}") + fmt.Sprintf(`,"token":%q}`, token)
}

// presents connects with the credentials of p, under a token.
func (p *peer) presents(server *socketio.Server, token string) *peer {
	p.t.Helper()
	back := dial(p.t, server)
	back.connect(p.as(token))
	return back
}

func TestIdentity_StolenPID(t *testing.T) {
	t.Parallel()
	for name, skip := range map[string]bool{"middleware runs": false, "SkipMiddlewares": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := &socketio.Options{Recovery: socketio.Recovery{Identity: byToken, SkipMiddlewares: skip}}
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				rooms(io)
				reasons := make(map[string]error)
				io.Use(func(_ context.Context, s *socketio.Socket) error {
					reasons[s.Identity()] = s.Recovery().Reason
					return nil
				})
				victim := dial(t, io)
				victim.connect(`{"token":"alice"}`)
				victim.ask(`["join","private"]`)

				// While the victim is connected, and while it is away.
				live := victim.presents(io, "mallory")
				emit(t, io.To("private"), "1")
				victim.wantEvents("said 1")
				victim.Cut()
				synctest.Wait()
				away := victim.presents(io, "mallory")
				unnamed := victim.presents(io, "")
				emit(t, io.To("private"), "2")
				for _, thief := range []*peer{live, away, unnamed} {
					thief.wantEvents()
					if thief.id == victim.id || thief.pid == victim.pid {
						t.Error("another identity has the victim's session")
					}
				}
				for _, who := range []string{"mallory", ""} {
					if !errors.Is(reasons[who], recovery.ErrIdentity) {
						t.Errorf("%q: reason %v", who, reasons[who])
					}
				}

				back := victim.presents(io, "alice")
				back.wantEvents("said 2")
				if back.id != victim.id || back.pid != victim.pid {
					t.Error("the victim did not recover its session")
				}
			})
		})
	}
}

func TestIdentity_NoneIsBoundToTheFirst(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{Recovery: socketio.Recovery{Identity: byToken}}, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		for _, row := range []struct {
			token string
			same  bool
		}{{"", true}, {"alice", true}, {"", false}, {"mallory", false}, {"alice", true}} {
			if back := p.presents(io, row.token); (back.id == p.id) != row.same {
				t.Errorf("under %q: the same session %v, want %v", row.token, !row.same, row.same)
			}
		}
	})
}

func TestIdentity_Refused(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{Recovery: socketio.Recovery{Identity: byToken}}, func(t *testing.T, io *socketio.Server) {
		p := dial(t, io)
		p.connect(`{"token":"alice"}`)
		other := dial(t, io)
		other.WriteText("0" + p.as("forged"))
		if text := other.ReadText(); !strings.HasPrefix(text, "4{") || !strings.Contains(text, "forged") {
			t.Errorf("answered with %q", text)
		}
		emit(t, io, "1")
		p.wantEvents("said 1") // and is connected as before
	})
}

// seenStore records everything that a server passes to its store.
type seenStore struct {
	*recovery.Memory

	seen []string
}

func (s *seenStore) Open(r *recovery.Session) *adapter.Receipt {
	s.seen = append(s.seen, fmt.Sprintf("%+v", r))
	return s.Memory.Open(r)
}

func (s *seenStore) Resume(ctx context.Context, c recovery.ResumeRequest) (*recovery.Session, error) {
	s.seen = append(s.seen, fmt.Sprintf("%+v", c))
	return s.Memory.Resume(ctx, c)
}

func (s *seenStore) End(k recovery.Key, e recovery.Release) *adapter.Receipt {
	s.seen = append(s.seen, fmt.Sprintf("%+v", k))
	return s.Memory.End(k, e)
}

// The private id is sent to the client only: it is not in the store, not in the log of the cluster, and not in the
// application's log.
func TestPrivateID_KnownToTheClientOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		store := &seenStore{Memory: recovery.NewMemory(memory)}
		var text bytes.Buffer
		io := newServer(&socketio.Options{
			Adapter: memory, Recovery: socketio.Recovery{Store: store, Identity: byToken},
			Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		p := dial(t, io)
		p.connect(`{"token":"alice@example.org"}`)
		emit(t, io, "1")
		p.drain()
		p.Cut()
		synctest.Wait()
		p = p.presents(io, "alice@example.org")
		p.presents(io, "mallory")
		var log strings.Builder
		_, head := memory.Extent()
		for batch, err := range memory.Read(t.Context(), 0, head) {
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range batch {
				log.Write(d.Payload)
			}
		}
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for where, what := range map[string]string{"store": fmt.Sprint(store.seen), "log of the cluster": log.String(), "application's log": text.String()} {
			for _, secret := range []string{p.pid, "alice@example.org"} {
				if strings.Contains(what, secret) {
					t.Errorf("the %s has %q: %s", where, secret, what)
				}
			}
		}
		if len(store.seen) < 4 {
			t.Errorf("the store received only %q", store.seen)
		}
	})
}
