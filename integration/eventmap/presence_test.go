package eventmap_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/eventmap"
)

type presentUser struct {
	Name string `json:"name"`
}

// TestGuide_Members compiles the class of the guide against the types that package eventmap writes, and folds
// events with it: a list that is interrupted, changes that it contains, and changes after it.
func TestGuide_Members(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "../../docs/guide.md"), "## Who is in a room")
	_, class, found := strings.Cut(section, "```ts\n")
	class, _, closed := strings.Cut(class, "```")
	if !found || !closed {
		t.Fatal("the guide has no class")
	}
	type (
		event  = socketio.PresenceEvent[presentUser]
		member = socketio.Member[presentUser]
	)
	user := func(id socketio.SocketID, name string) member { return member{ID: id, State: presentUser{name}} }
	ann, bob, eve := user("a", "Ann"), user("b", "Bob"), user("e", "Eve")
	events, err := json.Marshal([]event{
		{Room: "r", Version: 3, Members: []member{eve}, Part: 1, Parts: 2},
		{Room: "r", Version: 5, Members: []member{ann}, Part: 1, Parts: 2},
		{Room: "r", Version: 5, Members: []member{bob}, Part: 2, Parts: 2},
		{Room: "r", Version: 4, Entered: []member{eve}},
		{Room: "r", Version: 5, Left: []socketio.SocketID{"e", "a"}},
		{Room: "r", Version: 6, Entered: []member{eve}, Updated: []member{user("a", "Anna")}, Left: []socketio.SocketID{"b"}},
		{Room: "r", Version: 9, Members: []member{}, Part: 1, Parts: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := newProject(t)
	p.writeTypes("events.d.ts", &eventmap.Map{Namespaces: []eventmap.Namespace{{
		ServerToClient: eventmap.List(socketio.Presence[presentUser]("presence")),
	}}})
	p.write("everything.ts", class+`
import type { ServerToClientEvents, PresentUser } from "./events.js";
const members = new Members<PresentUser>();
const listener: ServerToClientEvents["presence"] = (e) => {
  const changed = members.fold(e);
  console.log(changed, [...members.all].map(([id, user]) => id + "=" + user.name).sort().join(" "));
};
for (const e of `+string(events)+`) listener(e);
`)
	if out := p.compile(); out != "" {
		t.Fatal(out)
	}
	out, err := p.run("node", "out/everything.js")
	if want := "false \nfalse \ntrue a=Ann b=Bob\nfalse a=Ann b=Bob\nfalse a=Ann b=Bob\ntrue a=Anna e=Eve\ntrue \n"; err != nil || out != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}
