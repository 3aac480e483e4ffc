package api_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
)

const currentNamespace socketio.Request[socketio.None, string] = "where"

func handleCurrentNamespace(r socketio.Registrar) {
	currentNamespace.On(r, func(_ context.Context, s *socketio.Socket, _ socketio.None) (string, error) {
		return s.Namespace().Name(), nil
	})
}

func TestNamespaces_Dynamic(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{CleanupEmptyChildNamespaces: true})
	created := make(chan string, 10)
	io.OnNamespace(func(n *socketio.Namespace) { created <- n.Name() })
	tenants := io.OfPattern(regexp.MustCompile(`^/tenant-\d+$`))
	handleCurrentNamespace(tenants)
	tenants.Use(func(_ context.Context, s *socketio.Socket) error {
		if s.Handshake().Query().Get("banned") != "" {
			return &socketio.Error{Message: "banned", Data: map[string]string{"from": s.Namespace().Name()}}
		}
		return nil
	})
	asked := io.OfFunc(func(_ context.Context, name string, h *socketio.Handshake) (bool, error) {
		var auth struct{ Token string }
		if err := h.DecodeAuth(&auth); err != nil {
			return false, err
		}
		return strings.HasPrefix(name, "/asked") && auth.Token == "letmein", nil
	})
	handleCurrentNamespace(asked)
	runScript(t, serve(t, io), `
		const a = await connect("/tenant-1");
		say("tenant", await ask(a, "where"));
		say("banned", await refusal("/tenant-2", { query: { banned: 1 } }));
		say("no such", await refusal("/tenant-x"));
		const b = await connect("/asked-for", { auth: { token: "letmein" } });
		say("asked", await ask(b, "where"));
		say("not allowed", await refusal("/asked-in-vain", { auth: { token: "no" } }));
		say("as it is there", await ask(await connect("/asked-for"), "where"));
	`, `
		tenant ["/tenant-1"]
		banned ["banned",{"from":"/tenant-2"}]
		no such ["Invalid namespace"]
		asked ["/asked-for"]
		not allowed ["Invalid namespace"]
		as it is there ["/asked-for"]
	`)
	for _, want := range []string{"/tenant-1", "/tenant-2", "/asked-for"} {
		if got := <-created; got != want {
			t.Errorf("created %s, want %s", got, want)
		}
	}
}

func TestNamespaces_EmptyAreRemoved(t *testing.T) {
	t.Parallel()
	for cleanup, want := range map[bool]int{true: 0, false: 2} {
		io := plain(socketio.Options{CleanupEmptyChildNamespaces: cleanup})
		parent := io.OfPattern(regexp.MustCompile(`^/child`))
		parent.Use(func(_ context.Context, s *socketio.Socket) error {
			if s.Namespace().Name() == "/child-refused" {
				return &socketio.Error{Code: "no"}
			}
			return nil
		})
		url := serve(t, io)
		runScript(t, url, `
			const socket = await connect("/child");
			say("refused", await refusal("/child-refused"));
			socket.disconnect();
			const other = await connect("/"); // a later namespace
		`, `refused ["no",{"code":"no"}]`)
		// The socket may not have ended yet.
		left := -1
		for deadline := time.Now().Add(patience); left != want && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			left = len(slices.Collect(parent.Namespaces()))
		}
		if left != want {
			t.Errorf("cleanup %v: %d namespaces remain, want %d", cleanup, left, want)
		}
	}
}

func TestNamespaces_ShareConnection(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	for _, name := range []string{"/", "/news", "closed"} {
		handleCurrentNamespace(io.Of(name))
	}
	io.Of("/closed").Use(func(context.Context, *socketio.Socket) error {
		return &socketio.Error{Message: "closed on sundays", Data: []int{7}}
	})
	runScript(t, serve(t, io), `
		const manager = new Manager(url, { transports: ["websocket"], reconnection: false });
		const main = manager.socket("/"), news = manager.socket("/news"), closed = manager.socket("/closed"), none = manager.socket("/none");
		const [[e], [f]] = await Promise.all([next(closed, "connect_error"), next(none, "connect_error"),
			next(main, "connect"), next(news, "connect")]);
		say("closed", e.message, e.data);
		say("none", f.message);
		say("main", await ask(main, "where"), main.id !== news.id);
		news.disconnect();
		say("after one left", await ask(main, "where"));
		news.connect();
		await next(news, "connect");
		say("and came back", await ask(news, "where"));
	`, `
		closed "closed on sundays" [7]
		none "Invalid namespace"
		main ["/"] true
		after one left ["/"]
		and came back ["/news"]
	`)
	if n := io.Connections(); n > 1 {
		t.Errorf("%d connections, want one", n)
	}
}

func TestMiddleware_RunsInOrder(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	var asked []string
	for _, name := range []string{"first", "second", "third"} {
		io.Use(func(_ context.Context, s *socketio.Socket) error {
			asked = append(asked, name)
			if s.Handshake().Query().Get("stop") == name {
				return &socketio.Error{Code: "stopped", Message: "stopped by the " + name}
			}
			return nil
		})
	}
	io.OnConnect(func(context.Context, *socketio.Socket) error {
		asked = append(asked, "connected")
		return nil
	})
	runScript(t, serve(t, io), `
		await connect();
		for (const stop of ["second", "first"]) say(stop, await refusal("/", { query: { stop } }));
	`, `
		second ["stopped by the second",{"code":"stopped"}]
		first ["stopped by the first",{"code":"stopped"}]
	`)
	if got, want := strings.Join(asked, " "), "first second third connected first second first"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestNamespaces_None_ConnectionIsClosed(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{ConnectTimeout: 2 * time.Second})
	runScript(t, serve(t, io), `
		const manager = new Manager(url, { transports: ["websocket"], reconnection: false });
		await next(manager, "open");
		say("closed for", (await next(manager, "close"))[0]);
		const quick = await connect();
		const other = new Manager(url, { transports: ["websocket"], reconnection: false });
		await next(other, "open");
		await next(other, "close");
		say("quick is", quick.connected);
	`, `
		closed for "transport close"
		quick is true
	`)
}
