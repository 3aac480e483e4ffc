package api_test

import (
	"context"
	"regexp"
	"testing"

	"github.com/pgsocket/socketio"
)

// TestLimits_OfficialClient_ReceivesError: what exceeds a limit is refused with a reason, and the connection stays
// open.
func TestLimits_OfficialClient_ReceivesError(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{MaxNamespaces: 2, MaxDynamicNamespaces: 1, MaxRooms: 1})
	io.OfPattern(regexp.MustCompile(`^/room-`))
	socketio.Request[socketio.Room, bool]("join").On(io, func(ctx context.Context, s *socketio.Socket, room socketio.Room) (bool, error) {
		return s.Join(ctx, room) == nil, nil
	})
	said := socketio.Request[[]socketio.Room, socketio.None]("say")
	said.On(io, func(ctx context.Context, s *socketio.Socket, rooms []socketio.Room) (socketio.None, error) {
		return socketio.None{}, socketio.Event[string]("said").Emit(ctx, s.To(rooms...), "hi")
	})
	runScript(t, serve(t, io), `
		const manager = new Manager(url, { transports: ["websocket"], reconnection: false });
		const main = manager.socket("/");
		await next(main, "connect");
		const child = manager.socket("/room-1", { auth: { text: "x".repeat(65_536) } });
		say("auth", (await next(child, "connect_error"))[0].message);
		child.auth = {};
		child.connect();
		await next(child, "connect");
		const third = manager.socket("/room-2");
		say("third", (await next(third, "connect_error"))[0].message);
		const other = await connect("/");
		const another = other.io.socket("/room-2");
		say("dynamic", (await next(another, "connect_error"))[0].message);
		child.disconnect();
		const late = manager.socket("/room-2");
		while (!late.connected) await Promise.race([next(late, "connect"), next(late, "connect_error").then(() => late.connect())]);
		say("after one left", late.connected);

		say("rooms", await ask(main, "join", "a"), await ask(main, "join", "b"));
		say("another's", await ask(other, "join", main.id));
		let count = 0;
		main.on("said", () => count++);
		await ask(other, "say", []);
		await ask(other, "say", ["a"]);
		await ask(main, "join", "a");
		say("received", count);
	`, `
		auth "Auth too large"
		third "Too many namespaces"
		dynamic "Too many namespaces"
		after one left true
		rooms [true] [false]
		another's [false]
		received 1
	`)
}
