package api_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/pgsocket/socketio"
)

const (
	question socketio.Request[string, string]               = "ask"
	begin    socketio.Request[socketio.None, socketio.None] = "begin"
)

// TestCall_LateAnswerOfFormerConnection_IsIgnored: an acknowledgement of a request from a former connection does not
// acknowledge a newer request.
func TestCall_LateAnswerOfFormerConnection_IsIgnored(t *testing.T) {
	t.Parallel()
	for name, io := range map[string]*socketio.Server{"recovered": server(socketio.Options{}), "not recovered": plain(socketio.Options{})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := make(chan string, 2)
			var asked atomic.Int64
			begin.On(io, func(context.Context, *socketio.Socket, socketio.None) (socketio.None, error) {
				return socketio.None{}, nil
			})
			io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
				text := "delete everything?"
				if asked.Add(1) > 1 {
					text = "keep a copy?"
				}
				go func() {
					v, err := question.Call(s.Context(), s, text)
					if err != nil {
						v = "none"
					}
					answers <- text + " " + v
				}()
				return nil
			})
			runScript(t, serve(t, io), `
				const s = open("/", { reconnection: true, reconnectionDelay: 1, reconnectionDelayMax: 1 });
				const [, first] = await next(s, "ask");
				const asked = next(s, "ask");
				s.io.engine.close();
				const [, second] = await asked;
				first("no");
				second("yes");
				await ask(s, "begin");
			`, "")
			got := []string{<-answers, <-answers}
			if slices.Sort(got); !slices.Equal(got, []string{"delete everything? none", "keep a copy? yes"}) {
				t.Errorf("answers %q", got)
			}
		})
	}
}

// TestMiddleware_TransientError_ClientIsRecovered: after an internal error in a middleware the official client
// reconnects by itself and is recovered.
func TestMiddleware_TransientError_ClientIsRecovered(t *testing.T) {
	t.Parallel()
	io := server(socketio.Options{})
	const said socketio.Event[int] = "said"
	var asked atomic.Int64
	io.Use(func(context.Context, *socketio.Socket) error {
		switch asked.Add(1) {
		case 1, 3:
			return errors.New("database is restarting")
		case 4:
			panic("nil map")
		}
		return nil
	})
	io.OnConnect(func(ctx context.Context, s *socketio.Socket) error { return said.Emit(ctx, s, int(asked.Load())) })
	runScript(t, serve(t, io), `
		const s = open("/", { reconnection: true, reconnectionDelay: 1, reconnectionDelayMax: 1 });
		s.on("connect_error", (err) => say("refused", err.message));
		const all = received(s);
		await next(s, "connect");
		await all.reach(1);
		s.io.engine.transport.ws._socket.resetAndDestroy();
		await next(s, "connect");
		say("recovered", s.recovered);
		await all.reach(2);
		say("received", ...all.map(([, n]) => n));
	`, `
		recovered true
		received 2 5
	`)
}

// TestNamespaces_LateAnswerAfterLeave_IsIgnored: a client that has left a namespace of its connection, or was
// disconnected from it, may still acknowledge an earlier request. It stays connected to the other namespaces.
func TestNamespaces_LateAnswerAfterLeave_IsIgnored(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	begin.On(io, func(context.Context, *socketio.Socket, socketio.None) (socketio.None, error) {
		return socketio.None{}, nil
	})
	for _, name := range []string{"/left", "/closed"} {
		n := io.Of(name)
		n.OnConnect(func(_ context.Context, s *socketio.Socket) error {
			go func() { _, _ = question.Call(s.Context(), s, "?") }()
			return nil
		})
		socketio.Event[socketio.None]("close").On(n, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
			return s.Disconnect(ctx)
		})
	}
	runScript(t, serve(t, io), `
		const manager = new Manager(url, { transports: ["websocket"], reconnection: false });
		const main = manager.socket("/"), left = manager.socket("/left"), closed = manager.socket("/closed");
		const [, [, answerLeft], [, answerClosed]] = await Promise.all([next(main, "connect"), next(left, "ask"), next(closed, "ask")]);
		left.disconnect();
		answerLeft("late");
		closed.emit("close");
		closed.emit("crosses");
		await next(closed, "disconnect");
		answerClosed("late");
		say("main", await ask(main, "begin"));
	`, `
		main []
	`)
}
