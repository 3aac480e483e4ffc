package main

import (
	"context"

	"github.com/pgsocket/socketio"
)

// online is who is in a room, with a text.
const online socketio.Presence[string] = "online"

// A presentState is the state of a member of a room.
type presentState struct {
	Room  socketio.Room `json:"room"`
	State string        `json:"state"`
}

const (
	entering    socketio.Request[presentState, socketio.None]              = "enter"
	exiting     socketio.Request[socketio.Room, socketio.None]             = "exit"
	watching    socketio.Request[socketio.Room, socketio.None]             = "watch"
	notWatching socketio.Request[socketio.Room, socketio.None]             = "unwatch"
	membersOf   socketio.Request[socketio.Room, []socketio.Member[string]] = "members"
)

func handlePresence(ns *socketio.Namespace) {
	entering.On(ns, func(ctx context.Context, s *socketio.Socket, p presentState) (socketio.None, error) {
		return socketio.None{}, online.Enter(ctx, s, p.Room, p.State)
	})
	exiting.On(ns, func(ctx context.Context, s *socketio.Socket, room socketio.Room) (socketio.None, error) {
		return socketio.None{}, online.Leave(ctx, s, room)
	})
	watching.On(ns, func(ctx context.Context, s *socketio.Socket, room socketio.Room) (socketio.None, error) {
		return socketio.None{}, online.Watch(ctx, s, room)
	})
	notWatching.On(ns, func(ctx context.Context, s *socketio.Socket, room socketio.Room) (socketio.None, error) {
		return socketio.None{}, online.Unwatch(ctx, s, room)
	})
	membersOf.On(ns, func(ctx context.Context, s *socketio.Socket, room socketio.Room) ([]socketio.Member[string], error) {
		members := []socketio.Member[string]{}
		for m, err := range online.Members(ctx, s.Namespace(), room) {
			if err != nil {
				return nil, err
			}
			members = append(members, m)
		}
		return members, nil
	})
}
