package api_test

import (
	"context"
	"testing"

	"github.com/pgsocket/socketio"
)

// TestIdentity_StolenPID_OfficialClients: a client that knows the private id of another, but has another token, gets
// a session of its own. The other client stays connected, and is recovered.
func TestIdentity_StolenPID_OfficialClients(t *testing.T) {
	t.Parallel()
	io := server(socketio.Options{Recovery: socketio.Recovery{
		SkipMiddlewares: true,
		Identity: func(_ context.Context, h *socketio.Handshake) (string, error) {
			var auth struct{ Token string }
			err := h.DecodeAuth(&auth)
			return auth.Token, err
		},
	}})
	const said socketio.Event[string] = "said"
	io.OnConnect(func(ctx context.Context, s *socketio.Socket) error {
		return said.Emit(ctx, io.To(socketio.Room(s.ID())), "for "+s.Identity())
	})
	runScript(t, serve(t, io), `
		const victim = open("/", { reconnection: true, reconnectionDelay: 1, reconnectionDelayMax: 1, auth: { token: "alice" } });
		const all = received(victim);
		await all.reach(1);
		const id = victim.id;
		const thief = open("/", { auth: { token: "mallory", pid: victim._pid } });
		const loot = received(thief);
		await loot.reach(1);
		say("thief", thief.recovered, thief.id === id, loot[0][1]);
		say("victim", victim.connected);
		victim.io.engine.close();
		await next(victim, "connect");
		say("victim", victim.recovered, victim.id === id);
	`, `
		thief false false "for mallory"
		victim true
		victim true true
	`)
}
