//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package integration_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
)

// TestConversation holds the official client's habits against one node, each in a client of its own, over every
// transport.
func TestConversation(t *testing.T) {
	for _, transports := range [][]string{{"websocket"}, {"polling"}, {"polling", "websocket"}} {
		t.Run(strings.Join(transports, " to "), func(t *testing.T) { converse(t, transports) })
	}
}

func converse(t *testing.T, transports []string) {
	t.Helper()
	cl := newCluster(t, 1, "-ping-interval", "300ms", "-ping-timeout", "20s")
	cs := newClients(t, 1)
	node := cl.nodes[0]
	next := 0
	connect := func(t *testing.T, more order) int {
		t.Helper()
		next++
		k := next
		all := order{"opts": order{"transports": transports}}
		maps.Copy(all, more)
		cs.open(k, node.url, all)
		cs.await(patience, "connect", func() bool { return cs.byNum[k].connected })
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
		same(t, cs.call(k, "echo", 1, "two", nil, 3.5, true, []int{4}, map[string]any{"five": map[string]any{}}, "√ \U0001f600 \u2028 \\ \" \x00"),
			`[1,"two",null,3.5,true,[4],{"five":{}},"√ 😀 \u2028 \\ \" \u0000"]`)
		same(t, cs.call(k, "echo"), `[]`)
	})
	t.Run("binary both ways, at any depth", func(t *testing.T) {
		k := connect(t, nil)
		same(t, cs.call(k, "echo", bin("AAEC/w=="), 7, bin(""), map[string]any{"deep": []any{bin("aGk="), "text"}}),
			`[{"$bin":"AAEC/w=="},7,{"$bin":""},{"deep":[{"$bin":"aGk="},"text"]}]`)
		same(t, cs.call(k, "bytes"), `[{"$bin":"AAEC/w=="}]`)
		same(t, cs.call(k, "pair"), `[7,{"$bin":"c2V2ZW4="}]`)
		large := strings.Repeat("QUJD", 150_000) // 450 kB
		same(t, len(cs.call(k, "echo", bin(large))[0]), "600011")
	})
	t.Run("the server asks the client", func(t *testing.T) {
		k := connect(t, nil)
		same(t, cs.call(k, "call-me", "what time is it"), `[{"asked":"what time is it"}]`)
	})
	t.Run("a room full of people", func(t *testing.T) {
		a, b := connect(t, order{"ns": "/chat"}), connect(t, order{"ns": "/chat"})
		same(t, cs.call(a, "say", map[string]any{"hello": "everybody"}), `[]`)
		cs.await(patience, "both hear it", func() bool { return len(cs.byNum[a].events) == 1 && len(cs.byNum[b].events) == 1 })
		e := cs.get(b).events[0]
		same(t, []any{e.Event, e.Args[0]}, `["post",{"hello":"everybody"}]`)
		if len(e.Args) != 2 {
			t.Errorf("arguments %s: want the post and the offset", e.Args)
		}
	})
	t.Run("data is kept through a recovery", func(t *testing.T) {
		k := connect(t, nil)
		cs.call(k, "set", map[string]any{"Key": "user", "Value": map[string]any{"name": "Ada", "n": []int{1, 2}}})
		cs.call(k, "set", map[string]any{"Key": "n\u0000ul", "Value": "\u0000"})
		id := cs.get(k).id
		cs.away("reset", k)
		cs.comeBack(node.url, k)
		if me := cs.get(k); !me.recovered || me.id != id {
			t.Errorf("recovered %v, id %s, was %s", me.recovered, me.id, id)
		}
		same(t, cs.call(k, "get", "user"), `[{"n":[1,2],"name":"Ada"}]`)
		same(t, cs.call(k, "get", "n\u0000ul"), `["\u0000"]`)
		same(t, cs.call(k, "get", "nothing"), `[null]`)
	})
	t.Run("errors as acknowledgements", func(t *testing.T) {
		k := connect(t, nil)
		same(t, cs.call(k, "fail", "short and stout"), `[{"error":{"code":"teapot","message":"short and stout","data":[4,1,8]}}]`)
		same(t, cs.call(k, "fail", "plain"), `[{"error":{"code":"internal"}}]`)
		same(t, cs.call(k, "fail", "panic"), `[{"error":{"code":"internal"}}]`)
		for _, args := range [][]any{{}, {map[string]any{}}, {7}} {
			if answer := cs.call(k, "fail", args...); !strings.HasPrefix(string(answer[0]), `{"error":{"code":"bad_payload"`) {
				t.Errorf("%v: answer %s", args, answer)
			}
		}
		for _, room := range []string{"", strings.Repeat("x", 256), "nu\x00l"} {
			if answer := cs.call(k, "join", []string{room}); !strings.HasPrefix(string(answer[0]), `{"error":`) {
				t.Errorf("room %q: answer %s", room, answer)
			}
		}
		same(t, cs.call(k, "echo", "still here"), `["still here"]`)
	})
	t.Run("an event without a handler, and one without an acknowledgement", func(t *testing.T) {
		k := connect(t, nil)
		cs.tell(k, order{"c": "emit", "k": k, "event": "nobody listens", "args": []int{1}, "ack": false})
		cs.tell(k, order{"c": "emit", "k": k, "event": "echo", "args": []int{1}, "ack": false})
		cs.tell(k, order{"c": "emit", "k": k, "event": "fail", "args": []string{"panic"}, "ack": false})
		same(t, cs.call(k, "echo", "in order"), `["in order"]`)
	})
	t.Run("gates refuse with data", func(t *testing.T) {
		for name, c := range map[string]struct {
			ns, want string
			auth     map[string]string
		}{
			"with data":     {"/guarded", `["not today",{"why":"because"}]`, map[string]string{"refuse": "because"}},
			"without token": {"/guarded", `["not today",{"why":""}]`, nil},
			"no such place": {"/nowhere", `["Invalid namespace",null]`, nil},
			"a strange one": {"/%2e%2e?x=1", `["Invalid namespace",null]`, nil},
		} {
			next++
			k := next
			cs.open(k, node.url, order{"ns": c.ns, "auth": c.auth})
			cs.await(patience, name, func() bool { return len(cs.byNum[k].errors) > 0 })
			refusal := cs.get(k).errors[0]
			same(t, []any{refusal.Message, refusal.Data}, c.want)
		}
	})
	t.Run("several namespaces on one connection", func(t *testing.T) {
		k := connect(t, nil)
		next += 2
		guarded, chat := next-1, next
		for other, o := range map[int]order{
			guarded: {"c": "also", "k": guarded, "of": k, "ns": "/guarded", "auth": map[string]string{"token": "letmein"}},
			chat:    {"c": "also", "k": chat, "of": k, "ns": "/chat"},
		} {
			cs.register(other)
			cs.tell(k, o)
		}
		cs.await(patience, "both", func() bool { return cs.byNum[guarded].connected && cs.byNum[chat].connected })
		if cs.get(k).id == cs.get(chat).id || cs.get(k).pid == cs.get(chat).pid {
			t.Error("two sockets share an id")
		}
		same(t, cs.call(chat, "echo", bin("AA==")), `[{"$bin":"AA=="}]`)
		cs.tell(k, order{"c": "leave", "k": chat})
		cs.await(patience, "one left", func() bool { return !cs.byNum[chat].connected })
		same(t, cs.call(guarded, "echo", 1), `[1]`)
		cs.cut("reset", nil, k)
		cs.await(patience, "both are back", func() bool { return cs.byNum[k].connects == 2 && cs.byNum[guarded].connects == 2 })
		if !cs.get(k).recovered || !cs.get(guarded).recovered {
			t.Error("a namespace was not recovered")
		}
		same(t, cs.get(chat).disconnects, `["io client disconnect"]`)
	})
	t.Run("reasons of a disconnection", func(t *testing.T) {
		k := connect(t, nil)
		cs.tell(k, order{"c": "emit", "k": k, "event": "kick-me", "args": []int{}, "ack": false})
		cs.await(patience, "kicked", func() bool { return len(cs.byNum[k].disconnects) == 1 })
		same(t, cs.get(k).disconnects, `["io server disconnect"]`)
		cs.back(node.url, k)
		cs.await(patience, "a new session", func() bool { return cs.byNum[k].connects == 2 })
		if me := cs.whoami(k); me.Recovered || me.Reason != "unknown session" {
			t.Errorf("after a disconnection by the server: recovered %v, reason %q", me.Recovered, me.Reason)
		}
		cs.cut("reset", nil, k)
		cs.await(patience, "back", func() bool { return cs.byNum[k].connects == 3 })
		same(t, cs.get(k).disconnects[1:], `["transport close"]`)
		before := node.stats().Gone["client namespace disconnect"]
		cs.tell(k, order{"c": "leave", "k": k})
		if !eventually(patience, func() bool { return node.stats().Gone["client namespace disconnect"] == before+1 }) {
			t.Errorf("the node has not heard that the client left: %v", node.stats().Gone)
		}
	})
	t.Run("reserved names", func(t *testing.T) {
		for _, name := range []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"} {
			w := watch(t, node) // the official client would not send them
			if err := w.client.Send(`42["` + name + `"]`); err != nil {
				t.Fatal(err)
			}
			select {
			case <-w.closed:
			case <-time.After(patience):
				t.Errorf("%q is not refused", name)
			}
		}
	})
	t.Run("heartbeats", func(t *testing.T) {
		k := connect(t, nil)
		pause(t.Context(), time.Second) // three pings
		same(t, cs.call(k, "echo", "alive"), `["alive"]`)
		if c := cs.get(k); c.connects != 1 {
			t.Errorf("disconnected for %q", c.disconnects)
		}
	})
	t.Run("a volatile event has our offset too", func(t *testing.T) {
		k := connect(t, nil)
		if o := node.publish(t.Context(), cs.history, publication{Publisher: 5, Count: 1, Volatile: true, Pad: 10}); o.acknowledged != 1 {
			t.Fatalf("%+v", o)
		}
		cs.await(patience, "the event", func() bool { return cs.byNum[k].ticks == 1 })
		cs.cut("reset", nil, k)
		cs.await(patience, "back", func() bool { return cs.byNum[k].connects == 2 })
		if me := cs.whoami(k); !me.Recovered {
			t.Errorf("not recovered after a volatile event: %q", me.Reason)
		}
	})
}

// TestBinaryIsNoText: binary data where a handler takes a string does not fit; it must not arrive as some text.
func TestBinaryIsNoText(t *testing.T) {
	cl := newCluster(t, 1)
	cs := newClients(t, 1)
	cs.connectAll(1, cl.alive(), nil)
	answer := cs.call(0, "fail", map[string]string{"$bin": "AA=="})
	if !strings.HasPrefix(string(answer[0]), `{"error":{"code":"bad_payload"`) {
		t.Errorf("answer %s, want bad_payload", answer)
	}
}
