package socketio_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
)

// A presenceView is what a client knows of a room, as the documentation of Presence has it.
type presenceView struct {
	members map[socketio.SocketID]string
	version int64
	list    map[socketio.SocketID]string // the parts so far
}

// fold processes an event. An error is one that an exact client never sees.
func (v *presenceView) fold(e *socketio.PresenceEvent[string]) error {
	if e.Parts > 0 {
		if e.Part == 1 {
			v.list = make(map[socketio.SocketID]string)
		}
		for _, m := range e.Members {
			v.list[m.ID] = m.State
		}
		if e.Part == e.Parts {
			v.members, v.version, v.list = v.list, e.Version, nil
		}
		return nil
	}
	switch {
	case e.Version <= v.version:
		return nil
	case v.members == nil:
		return errors.New("a change before the list")
	case e.Version != v.version+1:
		return fmt.Errorf("version %d after %d", e.Version, v.version)
	}
	v.version = e.Version
	for _, m := range e.Entered {
		if _, in := v.members[m.ID]; in {
			return fmt.Errorf("%s entered twice", m.ID)
		}
		v.members[m.ID] = m.State
	}
	for _, m := range e.Updated {
		if was, in := v.members[m.ID]; !in || was == m.State {
			return fmt.Errorf("%s was updated from %q to %q", m.ID, was, m.State)
		}
		v.members[m.ID] = m.State
	}
	for _, id := range e.Left {
		if _, in := v.members[id]; !in {
			return fmt.Errorf("%s left, and was no member", id)
		}
		delete(v.members, id)
	}
	return nil
}

func (v *presenceView) text() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(v.members)) {
		fmt.Fprintf(&b, "%s=%s ", id, v.members[id])
	}
	return b.String()
}

// A presentClient is a client that enters, changes its state, leaves and watches, and loses its
// connection again and again.
type presentClient struct {
	roomReader

	views map[string]*presenceView
	state string // in the room; "" if it is no member
}

func (c *presentClient) request(text string) {
	for {
		c.client.WriteText("27" + text)
		for c.random.IntN(30) > 0 {
			got := c.client.ReadText()
			if strings.HasPrefix(got, "37") {
				if got != "37[]" {
					c.t.Fatalf("%s: %s", text, got)
				}
				return
			}
			c.event(got)
		}
		c.cuts.Add(1)
		c.client.Cut()
		c.connect()
	}
}

// event processes the event of a presence. The client knows whether it is a member itself,
// and is never told otherwise for longer than an announcement takes.
func (c *presentClient) event(text string) {
	var args []json.RawMessage
	var e socketio.PresenceEvent[string]
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "2")), &args); err != nil || len(args) < 2 || string(args[0]) != `"online"` {
		c.t.Fatalf("event expected, got %q", text)
	}
	do(c.t, json.Unmarshal(args[1], &e))
	if c.views[string(e.Room)] == nil {
		c.views[string(e.Room)] = &presenceView{}
	}
	if err := c.views[string(e.Room)].fold(&e); err != nil {
		c.t.Fatalf("%s: %v\n%s", c.id, err, text)
	}
	if c.state == "stays" && slices.Contains(e.Left, socketio.SocketID(c.id)) {
		c.t.Fatalf("a member that recovers was reported gone: %s", text)
	}
	if len(args) == 3 {
		do(c.t, json.Unmarshal(args[2], &c.offset))
	}
}

// until processes events until the client knows these members.
func (c *presentClient) until(room, want string) {
	for c.views[room] == nil || c.views[room].text() != want {
		if c.random.IntN(20) == 0 {
			c.cuts.Add(1)
			c.client.Cut()
			c.connect()
		}
		c.event(c.client.ReadText())
	}
}

// TestPresence_ConcurrentChangesAndCuts_Exact: clients enter, change and leave a room while all
// watch it, and lose their connections all the time. Every change that a watcher receives fits
// what it knows, at the end all know the same members, which Members returns, and a member
// that stays is never reported gone.
func TestPresence_ConcurrentChangesAndCuts_Exact(t *testing.T) {
	t.Parallel()
	const clients = 16
	steps := 500
	if testing.Short() {
		steps = 50
	}
	opts := &socketio.Options{Presence: socketio.PresenceLimits{ListMembers: 3}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		presences(io)
		var cuts atomic.Int64
		client := func(i int) *presentClient {
			c := &presentClient{
				roomReader: roomReader{t: t, server: io, random: rand.New(rand.NewPCG(3, uint64(i))), cuts: &cuts},
				views:      make(map[string]*presenceView),
			}
			c.connect()
			return c
		}
		client(clients).request(`["enter",["red","anchor"]]`) // versions are consecutive while there is a member
		all := make([]*presentClient, clients)
		var working sync.WaitGroup
		for i := range all {
			all[i] = client(i)
			working.Go(func() { all[i].run(i, steps) })
		}
		working.Wait()
		want := membersOf(t, io, "red")
		for i := range all {
			working.Go(func() { all[i].until("red", want) })
		}
		working.Wait()
		if n := strings.Count(want, " "); n < clients/4 {
			t.Errorf("%d members", n)
		}
		t.Logf("%d cuts, %d members, version %d", cuts.Load(), strings.Count(want, " "), all[0].views["red"].version)
	})
}

func (c *presentClient) run(i, steps int) {
	if i%4 == 0 {
		c.request(`["enter",["red","stays"]]`)
		c.state = "stays"
	}
	c.request(`["watch","red"]`)
	for step := range steps {
		switch {
		case i%4 == 0:
			c.client.WriteText(`2["nothing"]`)
		case c.random.IntN(3) == 0:
			c.request(`["gone","red"]`)
			c.state = ""
		default:
			c.state = fmt.Sprint(step)
			c.request(fmt.Sprintf(`["enter",["red","%d"]]`, step))
		}
		if c.random.IntN(5) == 0 {
			c.request(`["unwatch","red"]`)
			delete(c.views, "red")
			c.request(`["watch","red"]`)
			if c.views["red"] == nil || c.views["red"].members == nil {
				c.t.Fatal("the request to watch was answered before the list")
			}
		}
		time.Sleep(time.Duration(c.random.IntN(int(100 * time.Millisecond))))
		if c.random.IntN(10) == 0 {
			c.cuts.Add(1)
			c.client.Cut()
			c.connect()
		}
	}
}
