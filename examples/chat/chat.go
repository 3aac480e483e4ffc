package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/eventmap"
)

// The events on the wire. Each name is bound to the type of its payload here, once,
// for the code that emits it and the code that handles it.
const (
	Hello socketio.Request[socketio.None, Welcome] = "chat:hello" // a page asks which node serves it
	Join  socketio.Request[Place, socketio.None]   = "chat:join"
	Leave socketio.Request[Place, socketio.None]   = "chat:leave"
	Say   socketio.Request[Words, socketio.None]   = "chat:say"
	Nodes socketio.Request[socketio.None, []Node]  = "chat:nodes" // a page asks which nodes answer

	Posted socketio.Event[Post]   = "chat:posted"
	Moved  socketio.Event[Moving] = "chat:moved"

	Earlier socketio.History        = "chat:earlier" // what was posted in a room before a page joined it
	Here    socketio.Presence[User] = "chat:here"    // who is in a room
)

// shownEarlier is how many earlier posts a page gets when it joins a room.
const shownEarlier = 50

// CurrentUser is the user of a socket, available on any node.
const CurrentUser socketio.Data[User] = "user"

// The payloads.
type (
	User struct {
		Name string `json:"name"`
	}
	Place struct {
		Room socketio.Room `json:"room"`
	}
	Words struct {
		Room socketio.Room `json:"room"`
		Text string        `json:"text"`
	}
	Post struct {
		Room   socketio.Room     `json:"room"`
		Number int64             `json:"number,omitzero"` // in its room, without gaps; none for what SQL emits by itself
		From   socketio.SocketID `json:"from"`
		Name   string            `json:"name"`
		Text   string            `json:"text"`
		Node   string            `json:"node"` // on which it was posted
		At     time.Time         `json:"at"`
	}
	Moving struct {
		Room socketio.Room     `json:"room"`
		Who  socketio.SocketID `json:"who"`
		Name string            `json:"name"`
		How  Change            `json:"how"`
	}
	Welcome struct {
		Node      string   `json:"node"`
		Process   int      `json:"process"`
		Nodes     []string `json:"nodes"`
		Recovered bool     `json:"recovered"`
		Replayed  int      `json:"replayed"`
		Reason    string   `json:"reason,omitempty"` // why it was not recovered
	}
	Node struct {
		Address string `json:"address"`
		Answers bool   `json:"answers"` // HTTP requests
	}
)

// A Change is how a user came to be in a room, or not any more.
type Change string

const (
	Joined Change = "joined"
	Left   Change = "left"
	Lost   Change = "lost"
)

// A chat is the application on one node.
type chat struct {
	io    *socketio.Server
	posts counter
	node  string   // the address of this node
	nodes []string // the addresses of all
	log   *slog.Logger
}

// register registers the handlers. They belong to the server, not to one socket: the
// state of a socket is in CurrentUser and in its rooms.
func (c *chat) register() {
	c.io.Use(c.admit)
	c.io.OnConnect(c.connected)
	c.io.OnDisconnect(c.disconnected)

	Hello.On(c.io, c.hello)
	Join.On(c.io, c.join)
	Leave.On(c.io, c.leave)
	Say.On(c.io, c.say)
	Nodes.On(c.io, c.states)
}

// eventMap describes the events to the page: those that have a handler, and those that
// are emitted. TestEventMap_FileIsCurrent writes it to events.d.ts, against which an
// editor, or tsc, checks page/chat.js.
//
//go:generate go test -run TestEventMap_FileIsCurrent -update .
func (c *chat) eventMap() *eventmap.Map {
	return &eventmap.Map{
		Namespaces: []eventmap.Namespace{{
			ServerToClient: eventmap.List(Posted, Moved, Earlier, Here),
			ClientToServer: c.io.Handled(),
			Data:           eventmap.List(CurrentUser),
		}},
		Types: []eventmap.Type{eventmap.Enum(Joined, Left, Lost)},
	}
}

// admit is the connection middleware. It runs again for a returning client.
func (c *chat) admit(ctx context.Context, s *socketio.Socket) error {
	var auth User
	if err := s.Handshake().DecodeAuth(&auth); err != nil {
		return &socketio.Error{Code: "bad_auth", Message: "auth must be an object with a name"}
	}
	auth.Name = strings.TrimSpace(auth.Name)
	if n := utf8.RuneCountInString(auth.Name); n == 0 || n > 24 {
		return &socketio.Error{Code: "bad_name", Message: "a name has 1 to 24 characters"}
	}
	return CurrentUser.Set(ctx, s, auth)
}

func (c *chat) connected(ctx context.Context, s *socketio.Socket) error {
	r := s.Recovery()
	attrs := []any{slog.String("name", name(s)), slog.Bool("recovered", r.Recovered), slog.Int("replayed", r.Replayed)}
	if r.Reason != nil {
		attrs = append(attrs, slog.String("reason", r.Reason.Error()))
	}
	c.log.InfoContext(ctx, "connected", attrs...)
	return nil
}

// disconnected notifies the others of a user who left. One whose connection was lost
// has not left: see lost.
func (c *chat) disconnected(s *socketio.Socket, reason socketio.Reason) {
	c.log.Info("disconnected", slog.String("name", name(s)), slog.String("reason", string(reason)))
	if reason != socketio.ReasonClientDisconnect {
		return
	}
	for room := range s.Rooms() {
		if exists(room) {
			Moved.EmitAsync(s.To(room), Moving{Room: room, Who: s.ID(), Name: name(s), How: Left})
		}
	}
}

// lost notifies the others of a user who did not return in time. It runs on one node
// of the cluster.
func (c *chat) lost(e *socketio.ExpiredSession) {
	user, _ := CurrentUser.From(e) // admit has set it
	for _, room := range e.Rooms {
		Moved.EmitAsync(c.io.To(room), Moving{Room: room, Who: e.ID, Name: user.Name, How: Lost})
	}
}

// hello is the first request of a page. Its answer comes after the replayed events, so
// the page can count them: the first ones of this connection, as many as the answer
// contains.
func (c *chat) hello(_ context.Context, s *socketio.Socket, _ socketio.None) (Welcome, error) {
	w := Welcome{Node: c.node, Process: os.Getpid(), Nodes: c.nodes}
	r := s.Recovery()
	w.Recovered, w.Replayed = r.Recovered, r.Replayed
	if r.Reason != nil {
		w.Reason = r.Reason.Error()
	}
	return w, nil
}

// join puts the user into a room. The page receives the last posts of the room, and then
// each post that follows: none is missing in between, and none comes twice.
func (c *chat) join(ctx context.Context, s *socketio.Socket, p Place) (none socketio.None, err error) {
	if !exists(p.Room) {
		return none, &socketio.Error{Code: "no_such_room"}
	}
	user, _ := CurrentUser.Get(s) // admit has set it
	if err := errors.Join(Here.Watch(ctx, s, p.Room), Here.Enter(ctx, s, p.Room, user)); err != nil {
		return none, err
	}
	if in(s, p.Room) {
		return none, nil
	}
	past := socketio.Past{Last: shownEarlier, Only: []string{string(Posted)}}
	if err := Earlier.Join(ctx, s, p.Room, past); err != nil {
		return none, err
	}
	return none, Moved.Emit(ctx, s.To(p.Room), Moving{Room: p.Room, Who: s.ID(), Name: name(s), How: Joined})
}

func (c *chat) leave(ctx context.Context, s *socketio.Socket, p Place) (none socketio.None, err error) {
	if !exists(p.Room) {
		return none, nil
	}
	if err := errors.Join(Here.Leave(ctx, s, p.Room), Here.Unwatch(ctx, s, p.Room)); err != nil || !in(s, p.Room) {
		return none, err
	}
	if err := s.Leave(ctx, p.Room); err != nil {
		return none, err
	}
	return none, Moved.Emit(ctx, s.To(p.Room), Moving{Room: p.Room, Who: s.ID(), Name: name(s), How: Left})
}

// say posts to everybody in the room, on all nodes, the author included. When it
// returns nil the post is committed: no socket in the room will miss it.
func (c *chat) say(ctx context.Context, s *socketio.Socket, w Words) (none socketio.None, err error) {
	text := strings.TrimSpace(w.Text)
	if n := utf8.RuneCountInString(text); n == 0 || n > 1000 {
		return none, &socketio.Error{Code: "bad_text", Message: "a message has 1 to 1000 characters"}
	}
	if !in(s, w.Room) {
		return none, &socketio.Error{Code: "not_in_room", Message: "join the room first"}
	}
	post := Post{Room: w.Room, From: s.ID(), Name: name(s), Text: text, Node: c.node, At: time.Now()}
	return none, c.posts.emit(ctx, c.io.To(w.Room), post)
}

// states reports which nodes answer at this moment.
func (c *chat) states(ctx context.Context, _ *socketio.Socket, _ socketio.None) ([]Node, error) {
	states := make([]Node, len(c.nodes))
	var running sync.WaitGroup
	for i, address := range c.nodes {
		running.Go(func() { // waited for below
			states[i] = Node{Address: address, Answers: answers(ctx, address)}
		})
	}
	running.Wait()
	return states, nil
}

func name(s *socketio.Socket) string {
	user, _ := CurrentUser.Get(s) // admit has set it
	return user.Name
}

// exists reports whether a room is one of ours. The room of its own in which every
// socket is, and which bears its id, is none of them.
func exists(room socketio.Room) bool {
	return slices.Contains([]socketio.Room{"lobby", "engine", "galley"}, room)
}

func in(s *socketio.Socket, room socketio.Room) bool {
	return exists(room) && s.In(room)
}
