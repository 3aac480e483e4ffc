//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package clients_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
)

// TestOfficialClient exercises the official client against one node, over every transport, with a new client for each
// feature.
func TestOfficialClient(t *testing.T) {
	for _, transports := range [][]string{{"websocket"}, {"polling"}, {"polling", "websocket"}} {
		t.Run(strings.Join(transports, " to "), func(t *testing.T) { testOfficialClient(t, transports) })
	}
}

func testOfficialClient(t *testing.T, transports []string) {
	t.Helper()
	cl := harness.NewCluster(t, 1, "-ping-interval", "300ms", "-ping-timeout", "20s")
	cs := harness.NewClients(t, 1)
	node := cl.Nodes[0]
	next := 0
	connect := func(t *testing.T, more harness.Command) int {
		t.Helper()
		next++
		k := next
		all := harness.Command{"opts": harness.Command{"transports": transports}}
		maps.Copy(all, more)
		cs.Open(k, node.URL, all)
		cs.Await(harness.MaxWait, "connect", func() bool { return cs.ByNumber[k].Connected })
		return k
	}
	bin := func(text string) map[string]string { return map[string]string{"$bin": text} } // base64
	same := func(t *testing.T, got any, want string) {
		t.Helper()
		text, err := json.Marshal(got)
		if err != nil || string(text) != want {
			t.Errorf("got %s, want %s (%v)", text, want, err)
		}
	}

	t.Run("acknowledgements, any values", func(t *testing.T) {
		k := connect(t, nil)
		same(t, cs.Call(k, "echo", 1, "two", nil, 3.5, true, []int{4}, map[string]any{"five": map[string]any{}}, "√ \U0001f600 \u2028 \\ \" \x00"),
			`[1,"two",null,3.5,true,[4],{"five":{}},"√ 😀 \u2028 \\ \" \u0000"]`)
		same(t, cs.Call(k, "echo"), `[]`)
	})
	t.Run("binary both ways, at any depth", func(t *testing.T) {
		k := connect(t, nil)
		same(t, cs.Call(k, "echo", bin("AAEC/w=="), 7, bin(""), map[string]any{"deep": []any{bin("aGk="), "text"}}),
			`[{"$bin":"AAEC/w=="},7,{"$bin":""},{"deep":[{"$bin":"aGk="},"text"]}]`)
		same(t, cs.Call(k, "bytes"), `[{"$bin":"AAEC/w=="}]`)
		same(t, cs.Call(k, "pair"), `[7,{"$bin":"c2V2ZW4="}]`)
		large := strings.Repeat("QUJD", 150_000) // 450 kB
		same(t, len(cs.Call(k, "echo", bin(large))[0]), "600011")
	})
	t.Run("requests to the client", func(t *testing.T) {
		k := connect(t, nil)
		same(t, cs.Call(k, "call-me", "what time is it"), `[{"asked":"what time is it"}]`)
	})
	t.Run("events to a namespace", func(t *testing.T) {
		a, b := connect(t, harness.Command{"ns": "/chat"}), connect(t, harness.Command{"ns": "/chat"})
		same(t, cs.Call(a, "say", map[string]any{"hello": "everybody"}), `[]`)
		cs.Await(harness.MaxWait, "both receive it", func() bool { return len(cs.ByNumber[a].Events) == 1 && len(cs.ByNumber[b].Events) == 1 })
		e := cs.Get(b).Events[0]
		same(t, []any{e.Event, e.Args[0]}, `["post",{"hello":"everybody"}]`)
		if len(e.Args) != 2 {
			t.Errorf("arguments %s: want the post and the offset", e.Args)
		}
	})
	t.Run("data survives a recovery", func(t *testing.T) {
		k := connect(t, nil)
		cs.Call(k, "set", map[string]any{"Key": "user", "Value": map[string]any{"name": "Ada", "n": []int{1, 2}}})
		cs.Call(k, "set", map[string]any{"Key": "n\u0000ul", "Value": "\u0000"})
		id := cs.Get(k).ID
		cs.CutAndHold("reset", k)
		cs.Reconnect(node.URL, k)
		if me := cs.Get(k); !me.Recovered || me.ID != id {
			t.Errorf("recovered %v, id %s, was %s", me.Recovered, me.ID, id)
		}
		same(t, cs.Call(k, "get", "user"), `[{"n":[1,2],"name":"Ada"}]`)
		same(t, cs.Call(k, "get", "n\u0000ul"), `["\u0000"]`)
		same(t, cs.Call(k, "get", "nothing"), `[null]`)
	})
	t.Run("errors as acknowledgements", func(t *testing.T) {
		k := connect(t, nil)
		same(t, cs.Call(k, "fail", "short and stout"), `[{"error":{"code":"teapot","message":"short and stout","data":[4,1,8]}}]`)
		same(t, cs.Call(k, "fail", "plain"), `[{"error":{"code":"internal"}}]`)
		same(t, cs.Call(k, "fail", "panic"), `[{"error":{"code":"internal"}}]`)
		for _, args := range [][]any{{}, {map[string]any{}}, {7}} {
			if answer := cs.Call(k, "fail", args...); !strings.HasPrefix(string(answer[0]), `{"error":{"code":"bad_payload"`) {
				t.Errorf("%v: answer %s", args, answer)
			}
		}
		for _, room := range []string{"", strings.Repeat("x", 256), "nu\x00l"} {
			if answer := cs.Call(k, "join", []string{room}); !strings.HasPrefix(string(answer[0]), `{"error":`) {
				t.Errorf("room %q: answer %s", room, answer)
			}
		}
		same(t, cs.Call(k, "echo", "still here"), `["still here"]`)
	})
	t.Run("an event without a handler, and one without an acknowledgement", func(t *testing.T) {
		k := connect(t, nil)
		cs.Send(k, harness.Command{"c": "emit", "k": k, "event": "nobody listens", "args": []int{1}, "ack": false})
		cs.Send(k, harness.Command{"c": "emit", "k": k, "event": "echo", "args": []int{1}, "ack": false})
		cs.Send(k, harness.Command{"c": "emit", "k": k, "event": "fail", "args": []string{"panic"}, "ack": false})
		same(t, cs.Call(k, "echo", "in order"), `["in order"]`)
	})
	t.Run("middleware refuses with data", func(t *testing.T) {
		for name, c := range map[string]struct {
			ns, want string
			auth     map[string]string
		}{
			"with data":          {"/guarded", `["not today",{"why":"because"}]`, map[string]string{"refuse": "because"}},
			"without token":      {"/guarded", `["not today",{"why":""}]`, nil},
			"unknown namespace":  {"/nowhere", `["Invalid namespace",null]`, nil},
			"special characters": {"/%2e%2e?x=1", `["Invalid namespace",null]`, nil},
		} {
			next++
			k := next
			cs.Open(k, node.URL, harness.Command{"ns": c.ns, "auth": c.auth})
			cs.Await(harness.MaxWait, name, func() bool { return len(cs.ByNumber[k].Errors) > 0 })
			refusal := cs.Get(k).Errors[0]
			same(t, []any{refusal.Message, refusal.Data}, c.want)
		}
	})
	t.Run("several namespaces on one connection", func(t *testing.T) {
		k := connect(t, nil)
		next += 2
		guarded, chat := next-1, next
		for other, o := range map[int]harness.Command{
			guarded: {"c": "also", "k": guarded, "of": k, "ns": "/guarded", "auth": map[string]string{"token": "letmein"}},
			chat:    {"c": "also", "k": chat, "of": k, "ns": "/chat"},
		} {
			cs.Register(other)
			cs.Send(k, o)
		}
		cs.Await(harness.MaxWait, "both", func() bool { return cs.ByNumber[guarded].Connected && cs.ByNumber[chat].Connected })
		if cs.Get(k).ID == cs.Get(chat).ID || cs.Get(k).PID == cs.Get(chat).PID {
			t.Error("two sockets share an id")
		}
		same(t, cs.Call(chat, "echo", bin("AA==")), `[{"$bin":"AA=="}]`)
		cs.Send(k, harness.Command{"c": "leave", "k": chat})
		cs.Await(harness.MaxWait, "one left", func() bool { return !cs.ByNumber[chat].Connected })
		same(t, cs.Call(guarded, "echo", 1), `[1]`)
		cs.Cut("reset", nil, k)
		cs.Await(harness.MaxWait, "both are back", func() bool { return cs.ByNumber[k].Connects == 2 && cs.ByNumber[guarded].Connects == 2 })
		if !cs.Get(k).Recovered || !cs.Get(guarded).Recovered {
			t.Error("a namespace was not recovered")
		}
		same(t, cs.Get(chat).Disconnects, `["io client disconnect"]`)
	})
	t.Run("reasons of a disconnection", func(t *testing.T) {
		k := connect(t, nil)
		cs.Send(k, harness.Command{"c": "emit", "k": k, "event": "kick-me", "args": []int{}, "ack": false})
		cs.Await(harness.MaxWait, "kicked", func() bool { return len(cs.ByNumber[k].Disconnects) == 1 })
		same(t, cs.Get(k).Disconnects, `["io server disconnect"]`)
		cs.StartReconnect(node.URL, k)
		cs.Await(harness.MaxWait, "a new session", func() bool { return cs.ByNumber[k].Connects == 2 })
		if me := cs.WhoAmI(k); me.Recovered || me.Reason != "unknown session" {
			t.Errorf("after a disconnection by the server: recovered %v, reason %q", me.Recovered, me.Reason)
		}
		cs.Cut("reset", nil, k)
		cs.Await(harness.MaxWait, "back", func() bool { return cs.ByNumber[k].Connects == 3 })
		same(t, cs.Get(k).Disconnects[1:], `["transport close"]`)
		before := node.Stats().Disconnects["client namespace disconnect"]
		cs.Send(k, harness.Command{"c": "leave", "k": k})
		if !harness.Eventually(harness.MaxWait, func() bool { return node.Stats().Disconnects["client namespace disconnect"] == before+1 }) {
			t.Errorf("the node did not receive DISCONNECT: %v", node.Stats().Disconnects)
		}
	})
	t.Run("reserved names", func(t *testing.T) {
		for _, name := range []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"} {
			w := harness.Observe(t, node) // the official client would not send them
			if err := w.Client.Send(`42["` + name + `"]`); err != nil {
				t.Fatal(err)
			}
			select {
			case <-w.Closed:
			case <-time.After(harness.MaxWait):
				t.Errorf("%q is not refused", name)
			}
		}
	})
	t.Run("heartbeats", func(t *testing.T) {
		k := connect(t, nil)
		harness.Pause(t.Context(), time.Second) // three pings
		same(t, cs.Call(k, "echo", "alive"), `["alive"]`)
		if c := cs.Get(k); c.Connects != 1 {
			t.Errorf("disconnected for %q", c.Disconnects)
		}
	})
	t.Run("a volatile event has an offset", func(t *testing.T) {
		k := connect(t, nil)
		if o := node.Publish(t.Context(), cs.History, harness.Publication{Publisher: 5, Count: 1, Volatile: true, Pad: 10}); o.Acknowledged != 1 {
			t.Fatalf("%+v", o)
		}
		cs.Await(harness.MaxWait, "the event", func() bool { return cs.ByNumber[k].Ticks == 1 })
		cs.Cut("reset", nil, k)
		cs.Await(harness.MaxWait, "back", func() bool { return cs.ByNumber[k].Connects == 2 })
		if me := cs.WhoAmI(k); !me.Recovered {
			t.Errorf("not recovered after a volatile event: %q", me.Reason)
		}
	})
}

// TestOfficialClient_BinaryWhereStringExpected: binary data for a handler that takes a string is refused as
// bad_payload, and does not arrive as text.
func TestOfficialClient_BinaryWhereStringExpected(t *testing.T) {
	cl := harness.NewCluster(t, 1)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(1, cl.RunningURLs(), nil)
	answer := cs.Call(0, "fail", map[string]string{"$bin": "AA=="})
	if !strings.HasPrefix(string(answer[0]), `{"error":{"code":"bad_payload"`) {
		t.Errorf("answer %s, want bad_payload", answer)
	}
}
