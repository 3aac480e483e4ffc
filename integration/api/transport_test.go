package api_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/pgsocket/socketio"
)

// TestForceBase64: the client's option, over each transport.
func TestForceBase64(t *testing.T) {
	t.Parallel()
	runScriptEveryTransport(t, func() string {
		io := plain(socketio.Options{})
		socketio.Request[socketio.Binary, socketio.Binary]("back").On(io, func(_ context.Context, _ *socketio.Socket, b socketio.Binary) (socketio.Binary, error) {
			return append(b, 4), nil
		})
		return serve(t, io)
	}, `
		const s = await connect("/", { forceBase64: true });
		for (let i = 0; i < 3; i++) say((await ask(s, "back", Buffer.from([1, 2, 3])))[0].toString("hex"), s.connected);
	`, `
		01020304 true
		01020304 true
		01020304 true
	`)
}

// TestAddTrailingSlash_Off: with the client's option the server must serve the path without the slash, too.
func TestAddTrailingSlash_Off(t *testing.T) {
	t.Parallel()
	runScriptEveryTransport(t, func() string {
		io := plain(socketio.Options{})
		mux := http.NewServeMux()
		mux.Handle("/socket.io/", io)
		mux.Handle("/socket.io", io)
		url := listen(t, mux)
		t.Cleanup(func() { shutdown(t, io) })
		return url
	}, `
		say((await connect("/", { addTrailingSlash: false })).connected, (await connect("/")).connected);
	`, `
		true true
	`)
}

// TestHandshake_QueryIsUnchanged: parts of a query that net/url does not parse are kept, over each transport.
func TestHandshake_QueryIsUnchanged(t *testing.T) {
	t.Parallel()
	runScriptEveryTransport(t, func() string {
		io := plain(socketio.Options{})
		socketio.Request[socketio.None, string]("token").On(io, func(_ context.Context, s *socketio.Socket, _ socketio.None) (string, error) {
			return s.Handshake().Query().Get("token"), nil
		})
		return serve(t, io)
	}, `
		for (const token of ["a;b", "100%", "a b+c&d"]) {
			const s = await connect("/", { query: { token } });
			say((await ask(s, "token"))[0]);
		}
	`, `
		a;b
		100%
		a b+c&d
	`)
}
