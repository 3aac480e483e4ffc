package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/pgsocket/socketio"
)

// TestEvents_DataThatLooksLikeProtocol relays what a client sends to the others beside binary data, as JSON and
// decoded. Each client receives exactly what was sent, and none is disconnected.
func TestEvents_DataThatLooksLikeProtocol(t *testing.T) {
	t.Parallel()
	type post struct {
		Meta  json.RawMessage `json:"meta"`
		Photo socketio.Binary `json:"photo"`
	}
	type loose struct {
		Meta  any             `json:"meta"`
		Photo socketio.Binary `json:"photo"`
	}
	begin := func() string {
		io := plain(socketio.Options{})
		picture := socketio.Binary("picture")
		outcome := func(err error) (string, error) {
			if errors.Is(err, socketio.ErrPlaceholder) {
				return "refused", nil
			}
			return "posted", err
		}
		socketio.Request[json.RawMessage, string]("raw").On(io, func(ctx context.Context, _ *socketio.Socket, v json.RawMessage) (string, error) {
			return outcome(socketio.Event[post]("post").Emit(ctx, io, post{v, picture}))
		})
		socketio.Request[any, string]("any").On(io, func(ctx context.Context, _ *socketio.Socket, v any) (string, error) {
			return outcome(socketio.Event[loose]("post").Emit(ctx, io, loose{v, picture}))
		})
		socketio.Request[any, any]("alone").On(io, func(ctx context.Context, _ *socketio.Socket, v any) (any, error) {
			return v, socketio.Event[any]("post").Emit(ctx, io, v)
		})
		return serve(t, io)
	}
	runScriptEveryTransport(t, begin, `
		const victim = await connect(), hostile = await connect();
		const all = received(victim);
		victim.on("disconnect", (reason) => say("disconnected", reason));
		const looks = [{ _placeholder: true, num: 7 }, { _placeholder: true, num: 0 }, [{ deep: { _placeholder: true } }],
			{ $binary: "aGk=" }, { $binary: "aGk=", $seal: "AAAAAAAAAAAAAAAAAAAAAA" }, '{"_placeholder":true,"num":0}', Buffer.from("real")];
		for (const v of looks) say("relayed", (await ask(hostile, "raw", v))[0], (await ask(hostile, "any", v))[0], (await ask(hostile, "alone", v))[0]);
		for (const e of await all.reach(15)) say("received", e[1].meta ?? e[1], ...(e[1].photo ? [e[1].photo] : []));
	`, `
		relayed "refused" "refused" {"_placeholder":true,"num":7}
		relayed "refused" "refused" {"_placeholder":true,"num":0}
		relayed "refused" "refused" [{"deep":{"_placeholder":true}}]
		relayed "posted" "posted" {"$binary":"aGk="}
		relayed "posted" "posted" {"$binary":"aGk=","$seal":"AAAAAAAAAAAAAAAAAAAAAA"}
		relayed "posted" "posted" "{\"_placeholder\":true,\"num\":0}"
		relayed "posted" "posted" {"$bin":"real"}
		received {"_placeholder":true,"num":7}
		received {"_placeholder":true,"num":0}
		received [{"deep":{"_placeholder":true}}]
		received {"$binary":"aGk="} {"$bin":"picture"}
		received {"$binary":"aGk="} {"$bin":"picture"}
		received {"$binary":"aGk="}
		received {"$binary":"aGk=","$seal":"AAAAAAAAAAAAAAAAAAAAAA"} {"$bin":"picture"}
		received {"$binary":"aGk=","$seal":"AAAAAAAAAAAAAAAAAAAAAA"} {"$bin":"picture"}
		received {"$binary":"aGk=","$seal":"AAAAAAAAAAAAAAAAAAAAAA"}
		received "{\"_placeholder\":true,\"num\":0}" {"$bin":"picture"}
		received "{\"_placeholder\":true,\"num\":0}" {"$bin":"picture"}
		received "{\"_placeholder\":true,\"num\":0}"
		received {"$bin":"real"} {"$bin":"picture"}
		received {"$bin":"real"} {"$bin":"picture"}
		received {"$bin":"real"}
	`)
}

// TestEvents_MissingArguments: callbacks and events without arguments.
func TestEvents_MissingArguments(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	handled := make(chan string, 4)
	socketio.Event[*int]("pointer").On(io, func(_ context.Context, _ *socketio.Socket, v *int) error {
		handled <- fmt.Sprint("pointer ", v)
		return nil
	})
	socketio.Event[any]("any").On(io, func(_ context.Context, _ *socketio.Socket, v any) error {
		handled <- fmt.Sprint("any ", v)
		return nil
	})
	socketio.Request[string, string]("text").On(io, func(context.Context, *socketio.Socket, string) (string, error) { return "", nil })
	socketio.Request[socketio.None, []string]("ask me").On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) ([]string, error) {
		one, err := socketio.Request[string, *int]("confirm").Call(ctx, s, "?")
		two, errTwo := socketio.Request[string, any]("confirm").Call(ctx, s, "?")
		_, errThree := socketio.Request[string, int]("confirm").Call(ctx, s, "?")
		_, errFour := socketio.Request[string, socketio.None]("confirm").Call(ctx, s, "?")
		answers := []string{fmt.Sprint(one, err), fmt.Sprint(two, errTwo), fmt.Sprint(errors.Is(errThree, socketio.ErrMissingArgument)), fmt.Sprint(errFour)}
		for r, err := range socketio.Request[string, int]("confirm").CallAll(ctx, s, "?") {
			answers = append(answers, fmt.Sprint(r.Value, errors.Is(err, socketio.ErrMissingArgument)))
		}
		return answers, nil
	})
	runScript(t, serve(t, io), `
		const s = await connect();
		s.on("confirm", (_, callback) => callback());
		s.emit("pointer");
		s.emit("any");
		say("text", await ask(s, "text"));
		say("asked", await ask(s, "ask me"));
	`, `
		text [{"error":{"code":"bad_payload","message":"text: missing argument: 1 expected, got 0"}}]
		asked [["<nil> <nil>","<nil> <nil>","true","<nil>","0 true"]]
	`)
	if one, two := <-handled, <-handled; one != "pointer <nil>" || two != "any <nil>" {
		t.Errorf("handled %s, %s", one, two)
	}
}

// TestRecovery_OptOut: a listener with rest arguments receives the offset, unless its client opts out.
func TestRecovery_OptOut(t *testing.T) {
	t.Parallel()
	io := server(socketio.Options{Recovery: socketio.Recovery{
		OptOut: func(namespace string, h *socketio.Handshake) bool {
			var auth struct {
				Recovery string `json:"recovery"`
			}
			return namespace == "/plain" || h.Query().Get("recovery") == "off" || h.DecodeAuth(&auth) == nil && auth.Recovery == "off"
		},
	}})
	io.Of("/plain")
	socketio.Request[socketio.None, socketio.None]("all").On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) (socketio.None, error) {
		err := socketio.Event[string]("news").Emit(ctx, io, "fit to print")
		return socketio.None{}, errors.Join(err, socketio.Event[string]("news").Emit(ctx, io.Of("/plain"), "fit to print"))
	})
	runScript(t, serve(t, io), `
		const clients = [await connect(), await connect("/", { query: { recovery: "off" } }),
			await connect("/", { auth: { recovery: "off" } }), await connect("/plain")];
		const news = clients.map((s) => next(s, "news"));
		await ask(clients[0], "all");
		for (const [i, args] of (await Promise.all(news)).entries()) say("received", args.length, args[0], clients[i]._pid !== undefined);
		// After a cut one client is recovered, and the other has a new session.
		for (const s of clients.slice(0, 2)) {
			s.io._reconnection = true;
			const back = next(s, "connect");
			s.io.engine.close();
			await back;
			say("back", Boolean(s.recovered));
		}
	`, `
		received 2 "fit to print" true
		received 1 "fit to print" false
		received 1 "fit to print" false
		received 1 "fit to print" false
		back true
		back false
	`)
}
