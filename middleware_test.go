package socketio_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// A failure of the application is not a refusal: the client may return, with its session if
// it has one.
func TestGate_PassingError_CutsTheConnection(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(context.Context, *socketio.Socket) error{
		"error": func(context.Context, *socketio.Socket) error { return errors.New("database is restarting") },
		"panic": func(context.Context, *socketio.Socket) error { panic("nil map") },
		"timeout": func(ctx context.Context, _ *socketio.Socket) error {
			<-ctx.Done()
			return context.Cause(ctx)
		},
		"call": func(ctx context.Context, s *socketio.Socket) error {
			_, err := join.Call(ctx, s, "x")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				down := true
				io.Use(func(ctx context.Context, s *socketio.Socket) error {
					if down {
						return fail(ctx, s)
					}
					return nil
				})
				p := dial(t, io)
				p.WriteText("0")
				p.closedWithoutAWord()
				down = false
				p = connected(t, io)
				emit(t, io, "0")
				p.drain()
				p.Cut()
				synctest.Wait()
				emit(t, io, "1")
				down = true
				for range 3 {
					back := dial(t, io)
					back.WriteText("0" + p.ticket())
					back.closedWithoutAWord()
				}
				down = false
				emit(t, io, "2")
				p.comeBackUncut(io).wantEvents("said 1", "said 2")
				if r := only(t, io).Recovery(); !r.Recovered {
					t.Errorf("not recovered: %v", r.Reason)
				}
			})
		})
	}
}

// closedWithoutAWord expects the end of the connection, with no CONNECT_ERROR before it.
func (p *peer) closedWithoutAWord() {
	p.t.Helper()
	for {
		_, data, err := p.ReadMessage()
		if err != nil {
			synctest.Wait()
			return
		}
		p.t.Errorf("got %s", data)
	}
}

func TestOfFunc_PassingError_CutsTheConnection(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var answer func() (bool, error)
		io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { return answer() })
		for name, fail := range map[string]func() (bool, error){
			"error": func() (bool, error) { return false, errors.New("database is restarting") },
			"panic": func() (bool, error) { panic("nil map") },
		} {
			answer = fail
			p := dial(t, io)
			p.WriteText("0/" + name)
			p.closedWithoutAWord()
			answer = func() (bool, error) { return false, &socketio.Error{Code: "no"} }
			p = dial(t, io)
			if got := p.enter("/"+name, ""); got != invalidNamespace {
				t.Errorf("%s: %s", name, got)
			}
			answer = func() (bool, error) { return true, nil }
			if got := p.enter("/"+name, ""); got != "connected" {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
}

// An error that a retry does not resolve refuses the client, if the middleware returns it as it is.
func TestGate_ErrorOfTheClient_Refuses(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var got error
		io.Use(func(ctx context.Context, s *socketio.Socket) error {
			var auth struct{ Follow string }
			if got = s.Handshake().DecodeAuth(&auth); got != nil {
				return got
			}
			got = s.ResumeFrom(ctx, auth.Follow)
			return got
		})
		for auth, want := range map[string]error{`{"follow":"made up"}`: socketio.ErrSnapshot, `{"follow":7}`: nil} {
			p := dial(t, io)
			p.WriteText("0" + auth)
			if text := p.ReadText(); !strings.HasPrefix(text, "4") || !strings.Contains(text, "bad_payload") && !strings.Contains(text, "snapshot token") {
				t.Errorf("%s: %s", auth, text)
			}
			if want != nil && !errors.Is(got, want) {
				t.Errorf("%s: %v", auth, got)
			}
		}
	})
}

// Rooms that the middleware has left again do not count from the snapshot token on.
func TestResumeFrom_AfterJoinAndLeave_RoomIsNotHeld(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		emit(t, io, "shown")
		var mark string
		before := connected(t, io)
		emit(t, io, "mark")
		before.drain()
		mark = before.offset
		emit(t, io.To("left"), "secret")
		emit(t, io.To("again"), "1")
		emit(t, io.To("in"), "2")
		io.Use(func(ctx context.Context, s *socketio.Socket) error {
			return errors.Join(s.Join(ctx, "left", "in", "again"), s.Leave(ctx, "left", "again"), said.Emit(ctx, io.To("left"), "secret too"),
				s.Join(ctx, "again"), s.ResumeFrom(ctx, mark))
		})
		p := connected(t, io)
		p.wantEvents("said 1", "said 2")
		p.Cut()
		synctest.Wait()
		emit(t, io.To("left"), "secret still")
		p.comeBackUncut(io).wantEvents()
	})
}
