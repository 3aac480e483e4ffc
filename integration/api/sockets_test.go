package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/clientbundle"
	"github.com/pgsocket/socketio/msgpack"
	"github.com/pgsocket/socketio/transport"
)

func TestHandshake_Fields(t *testing.T) {
	t.Parallel()
	type shown struct {
		Query, Origin, Header, Address, User string
		Secure, XDomain, Recent              bool
		Auth                                 map[string]any
		Path                                 string
	}
	type userKey struct{}
	const show socketio.Request[socketio.None, shown] = "show"
	io := plain(socketio.Options{Origins: []string{"http://elsewhere"}})
	show.On(io, func(_ context.Context, s *socketio.Socket, _ socketio.None) (shown, error) {
		h := s.Handshake()
		v := shown{
			Query: h.Query().Get("who") + h.Query().Get("EIO") + h.Query().Get("transport"), Origin: h.Header.Get("Origin"), Header: h.Header.Get("X-Extra"),
			Secure: h.Secure, XDomain: h.XDomain, Recent: time.Since(h.Time) < time.Minute, Path: h.URL.Path,
		}
		if strings.HasPrefix(h.Address, "127.0.0.1:") {
			v.Address = "loopback"
		}
		v.User, _ = s.Context().Value(userKey{}).(string)
		return v, h.DecodeAuth(&v.Auth)
	})
	authenticated := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, "ann")))
	})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", authenticated)
	url := listen(t, mux)
	t.Cleanup(func() { shutdown(t, io) })
	runScript(t, url, `
		const a = await connect("/", { query: { who: "me" }, extraHeaders: { "X-Extra": "1", Origin: "http://elsewhere" }, auth: { token: [1] } });
		say("a", await a.emitWithAck("show"));
		const b = await connect("/", { auth: (cb) => cb({ later: true }) });
		say("b", (await b.emitWithAck("show")).Auth);
		const c = await connect();
		const { Auth, XDomain } = await c.emitWithAck("show");
		say("c", Auth, XDomain);
	`, `
		a {"Query":"me4websocket","Origin":"http://elsewhere","Header":"1","Address":"loopback","User":"ann",`+
		`"Secure":false,"XDomain":true,"Recent":true,"Auth":{"token":[1]},"Path":"/socket.io/"}
		b {"later":true}
		c null false
	`)
}

func TestAllowRequest(t *testing.T) {
	t.Parallel()
	refused := make(chan string, 1)
	io := plain(socketio.Options{
		AllowRequest: func(r *http.Request) error {
			if r.URL.Query().Get("key") != "letmein" {
				return &socketio.Error{Message: "not without the key"}
			}
			return nil
		},
		HTTP: transport.HTTP{OnConnectionError: func(e *transport.ConnectionError) {
			refused <- fmt.Sprint(e.Code, " ", e.Message, " ", e.Context)
		}},
	})
	runScript(t, serve(t, io), `
		say("without", (await refusal("/"))[0]);
		say("with", (await connect("/", { query: { key: "letmein" } })).connected);
	`, `
		without "websocket error"
		with true
	`)
	if got, want := <-refused, "4 not without the key map[message:not without the key]"; got != want {
		t.Errorf("refused: %s, want %s", got, want)
	}
}

// TestDisconnect_Reasons: the reason at each side, and whether the client reconnects by itself.
func TestDisconnect_Reasons(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{PingInterval: time.Second, PingTimeout: 3 * time.Second})
	reasons := make(chan string, 1)
	for _, name := range []string{"/", "/other"} {
		io.Of(name).OnDisconnect(func(s *socketio.Socket, r socketio.Reason) {
			if name == "/" {
				reasons <- s.Handshake().Query().Get("how") + ": " + string(r)
			}
		})
	}
	const end socketio.Event[bool] = "end"
	end.On(io, func(ctx context.Context, s *socketio.Socket, whole bool) error {
		ctx = context.WithoutCancel(ctx)
		if whole {
			return s.CloseConnection(ctx)
		}
		return s.Disconnect(ctx)
	})
	url := serve(t, io)
	for how, c := range map[string]struct{ do, client, server string }{
		"leave":      {`s.disconnect()`, "io client disconnect", "client namespace disconnect"},
		"kicked":     {`s.emit("end", false)`, "io server disconnect", "server namespace disconnect"},
		"closed":     {`s.emit("end", true)`, "io server disconnect", "server namespace disconnect"},
		"engine":     {`s.io.engine.close()`, "forced close", "transport close"},
		"cut":        {`s.io.engine.transport.ws._socket.resetAndDestroy()`, "transport close", "transport close"},
		"no pong":    {`s.io.engine._sendPacket = () => {}`, "transport close", "ping timeout"},
		"too large":  {`s.emit("x", "x".repeat(2000000))`, "transport close", "transport error"},
		"no packet":  {`s.io.engine.transport.ws.send("9")`, "transport close", "parse error"},
		"ping":       {`s.io.engine.transport.ws.send("2")`, "transport close", "transport error"},
		"violation":  {`s.io.engine.write("9")`, "transport close", "forced close"},
		"no event":   {`s.io.engine.write('2["disconnect"]')`, "transport close", "forced close"},
		"twice":      {`s.io.engine.write("0")`, "transport close", "forced close"},
		"elsewhere":  {`s.io.engine.write('2/other,["x"]')`, "transport close", "forced close"},
		"stray data": {`s.io.engine.write(Buffer.from("x"))`, "transport close", "forced close"},
	} {
		script := `
			const s = await connect("/", { query: { how: "` + how + `" } });
			const gone = next(s, "disconnect");
			` + c.do + `;
			say("client", (await gone)[0]);`
		runScript(t, url, script, `client "`+c.client+`"`)
		if got, want := <-reasons, how+": "+c.server; got != want {
			t.Errorf("reason at the server: %q, want %q", got, want)
		}
	}
}

func TestShutdown_ClientsReconnect(t *testing.T) {
	t.Parallel()
	first, second := plain(socketio.Options{}), plain(socketio.Options{})
	const close socketio.Event[socketio.None] = "close"
	reasons := make(chan socketio.Reason, 1)
	first.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { reasons <- r })
	stopped := make(chan error, 1)
	close.On(first, func(context.Context, *socketio.Socket, socketio.None) error {
		go func() { stopped <- first.Shutdown(context.Background()) }() // waited for below
		return nil
	})
	mux := http.NewServeMux()
	mux.Handle("/first/", first)
	mux.Handle("/second/", second)
	url := listen(t, mux)
	t.Cleanup(func() { shutdown(t, second) })
	runScript(t, url, `
		const s = await connect("/", { path: "/first/", reconnection: true, reconnectionDelay: 1 });
		s.emit("close");
		say("gone", (await next(s, "disconnect"))[0]);
		s.io.opts.path = s.io.engine.opts.path = "/second/";
		await next(s, "connect");
		say("back");
	`, `
		gone "transport close"
		back
	`)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if r := <-reasons; r != socketio.ReasonServerShutdown {
		t.Errorf("reason %q", r)
	}
}

// TestServer_TwoOnOneMux: the application chooses the path of each server, with or without a slash at its end.
func TestServer_TwoOnOneMux(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	for _, path := range []string{"/socket.io/", "/v2/chat/", "/bare"} {
		io := plain(socketio.Options{})
		socketio.Request[socketio.None, string]("which").On(io, func(context.Context, *socketio.Socket, socketio.None) (string, error) {
			return path, nil
		})
		t.Cleanup(func() { shutdown(t, io) })
		mux.Handle(path, clientbundle.Beside(io))
	}
	runScript(t, listen(t, mux), `
		say("default", await (await connect()).emitWithAck("which"));
		say("path", await (await connect("/", { path: "/v2/chat" })).emitWithAck("which"));
		say("no slash", await (await connect("/", { path: "/bare", addTrailingSlash: false })).emitWithAck("which"));
		say("elsewhere", await refusal("/", { path: "/none" }));
		const bundle = await fetch(url + "/v2/chat/socket.io.esm.min.js");
		say("bundle", bundle.status, bundle.headers.get("content-type"));
		const official = await import("data:text/javascript;base64," + Buffer.from(await bundle.text()).toString("base64"));
		say("its protocol", official.protocol);
	`, `
		default "/socket.io/"
		path "/v2/chat/"
		no slash "/bare"
		elsewhere ["websocket error"]
		bundle 200 "application/javascript; charset=utf-8"
		its protocol 5
	`)
}

// TestParser_MessagePack: with the official MessagePack parser everything works as with JSON.
func TestParser_MessagePack(t *testing.T) {
	t.Parallel()
	io := server(socketio.Options{Parser: msgpack.Parser{}})
	echo(io, "echo")
	const said socketio.Event[move] = "said"
	io.Handle("say", func(ctx context.Context, m *socketio.Message) error {
		return said.Emit(ctx, io, move{piece: "rook", x: -1, cargo: []byte("gold")})
	})
	const twice socketio.Request[[]byte, []byte] = "twice"
	socketio.Request[[]byte, []byte]("back").On(io, func(ctx context.Context, s *socketio.Socket, v []byte) ([]byte, error) {
		return twice.Call(ctx, s, v)
	})
	io.Of("/closed").Use(func(context.Context, *socketio.Socket) error {
		return &socketio.Error{Message: "closed", Data: map[string]int{"until": 9}}
	})
	runScript(t, serve(t, io), `
		const parser = (await import("socket.io-msgpack-parser")).default;
		const s = await connect("/", { parser });
		const all = received(s);
		s.on("twice", (v, reply) => reply(Buffer.concat([v, v])));
		say("values", await ask(s, "echo", 1, -7, 0.5, 2 ** 40, "two", null, [true], { deep: [{ x: Buffer.from("b") }] }, new Date(0)));
		say("binary", await ask(s, "back", Buffer.from("ab")));
		s.emit("say");
		const [, [event, piece, x, y, cargo, offset]] = await all.reach(2);
		say("received", event, piece, x, y, cargo, typeof offset);
		say("closed", await refusal("/closed", { parser }));
		say("none", await refusal("/none", { parser }));
		s.io.reconnection(true);
		s.io.engine.transport.ws._socket.resetAndDestroy();
		await next(s, "connect");
		say("recovered", s.recovered);
		const wrong = open(); // it speaks JSON
		await next(wrong.io, "close");
		say("wrong", wrong.connected);
	`, `
		values [1,-7,0.5,1099511627776,"two",null,[true],{"deep":[{"x":{"$bin":"b"}}]},"1970-01-01T00:00:00.000Z"]
		binary [{"$bin":"abab"}]
		received "said" "rook" -1 0 {"$bin":"gold"} "string"
		closed ["closed",{"until":9}]
		none ["Invalid namespace"]
		recovered true
		wrong false
	`)
}

// TestHandshake_ResponseHeaders: headers that a middleware sets are sent with the upgrade, like those of the events
// headers and initial_headers.
func TestHandshake_ResponseHeaders(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{HTTP: transport.HTTP{
		InitialHeaders: func(h http.Header, _ *http.Request) { h.Set("X-First", "yes") },
		Headers:        func(h http.Header, _ *http.Request) { h.Set("X-Each", "yes") },
	}})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", "us")
		io.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	t.Cleanup(func() { shutdown(t, io) })
	runScript(t, web.URL, `
		const { WebSocket } = await import("ws");
		const ws = new WebSocket(url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket");
		const [answer] = await next(ws, "upgrade");
		say("upgrade", answer.headers["x-served-by"], answer.headers["x-first"], answer.headers["x-each"]);
		const polling = url + "/socket.io/?EIO=4&transport=polling";
		const first = await fetch(polling), { sid } = JSON.parse((await first.text()).slice(1));
		say("poll", ...["x-served-by", "x-first", "x-each"].map((h) => first.headers.get(h)));
		const second = await fetch(polling + "&sid=" + sid, { method: "POST", body: "40" });
		say("next", ...["x-served-by", "x-first", "x-each"].map((h) => second.headers.get(h)));
	`, `
		upgrade "us" "yes" "yes"
		poll "us" "yes" "yes"
		next "us" null "yes"
	`)
}

// TestTransports: which transports are offered and used, and what polling carries.
func TestTransports(t *testing.T) {
	t.Parallel()
	server := func(h transport.HTTP) string {
		io := plain(socketio.Options{HTTP: h})
		echo(io, "echo")
		socketio.Request[socketio.None, string]("by").On(io, func(_ context.Context, s *socketio.Socket, _ socketio.None) (string, error) {
			return s.Transport(), nil
		})
		return serve(t, io)
	}
	const script = `
		for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
			const s = open("/", { transports });
			const { engine } = s.io;
			const upgraded = new Promise((resolve) => engine.once("upgrade", resolve));
			if (await Promise.race([next(s, "connect").then(() => true), next(s, "connect_error").then(() => false)])) {
				if (engine._upgrades.length > 0) await upgraded; // the upgrades that both sides support
				say(transports.join(), await s.emitWithAck("by"), (await s.emitWithAck("echo", "x".repeat(3000))).length);
			} else say(transports.join(), "is refused");
			s.disconnect();
		}`
	runScript(t, server(transport.HTTP{}), script, `
		websocket "websocket" 3000
		polling "polling" 3000
		polling,websocket "websocket" 3000
	`)
	runScript(t, server(transport.HTTP{NoUpgrades: true}), script, `
		websocket "websocket" 3000
		polling "polling" 3000
		polling,websocket "polling" 3000
	`)
	runScript(t, server(transport.HTTP{Transports: []string{transport.Polling}}), script, `
		websocket "is refused"
		polling "polling" 3000
		polling,websocket "polling" 3000
	`)
	runScript(t, server(transport.HTTP{Transports: []string{transport.WebSocket}, CompressFrom: -1}), script, `
		websocket "websocket" 3000
		polling "is refused"
		polling,websocket "is refused"
	`)
	for from, want := range map[int]string{0: `"gzip"`, -1: `null`} {
		runScript(t, server(transport.HTTP{CompressFrom: from, Cookie: &http.Cookie{Name: "node"}}), `
			const polling = url + "/socket.io/?EIO=4&transport=polling";
			const first = await fetch(polling), { sid } = JSON.parse((await first.text()).slice(1));
			say("cookie", first.headers.get("set-cookie").replace(sid, "its id"));
			const send = (body) => fetch(polling + "&sid=" + sid, { method: "POST", body });
			await send("40");
			await fetch(polling + "&sid=" + sid);
			await send('421["echo","' + "x".repeat(3000) + '"]');
			const answer = await fetch(polling + "&sid=" + sid);
			say("compressed", answer.headers.get("content-encoding"), (await answer.text()).length);
		`, `
			cookie "node=its id; Path=/; HttpOnly; SameSite=Lax"
			compressed `+want+` 3007
		`)
	}
}

// TestSockets_OfThisNode: what io.sockets.sockets and the rooms of its adapter show.
func TestSockets_OfThisNode(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	var mu sync.Mutex
	var found []string
	const look socketio.Request[socketio.SocketID, int] = "look"
	look.On(io, func(ctx context.Context, s *socketio.Socket, other socketio.SocketID) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		for one := range io.Sockets() {
			found = append(found, string(one.ID()))
		}
		o, ok := io.Socket(other)
		if !ok {
			return 0, &socketio.Error{Code: "not here"}
		}
		if err := errors.Join(o.Join(ctx, "pair"), s.Join(ctx, "pair")); err != nil {
			return 0, err
		}
		for _, size := range io.Rooms() {
			return size, nil
		}
		return 0, nil
	})
	out := run(t, serve(t, io), `
		const a = await connect(), b = await connect();
		say("size", await a.emitWithAck("look", b.id));
		say("none", await a.emitWithAck("look", "nobody"));
		say("ids", ...[a.id, b.id].sort());
	`, "websocket")
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(found)
	found = slices.Compact(found)
	want := "size 2\nnone {\"error\":{\"code\":\"not here\"}}\nids \"" + strings.Join(found, `" "`) + `"`
	if out != want {
		t.Errorf("output of the clients\n%s\nwant\n%s", out, want)
	}
}
