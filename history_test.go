package socketio_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

const earlier socketio.History = "earlier"

// histories lets clients join rooms with their histories, and leave.
func histories(server *socketio.Server, past socketio.Past) {
	join.On(server, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, earlier.Join(ctx, s, socketio.Room(room), past)
	})
	leave.On(server, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, s.Leave(ctx, socketio.Room(room))
	})
}

// joinRoom requests a join, and returns the history, which comes before the answer.
func (p *peer) joinRoom(room string) string {
	p.t.Helper()
	before := len(p.drain())
	p.WriteText(`27["join","` + room + `"]`)
	synctest.Wait()
	for {
		text := p.ReadText()
		if strings.HasPrefix(text, "37") {
			break
		}
		p.event(text)
	}
	if events := p.events[before:]; len(events) == 1 {
		return events[0]
	} else if len(events) > 1 {
		p.t.Errorf("a join yielded %q", events)
	}
	return ""
}

func (p *peer) wantHistory(got, want string) {
	p.t.Helper()
	if got != want {
		p.t.Errorf("got %s, want %s", got, want)
	}
}

func TestHistory_Join_EventsOfTheRoom(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		histories(io, socketio.Past{})
		other, p := connected(t, io), connected(t, io)
		emit(t, io.To("red"), "1")
		emit(t, io, "to all")
		emit(t, io.To("blue"), "of another room")
		emit(t, io.To("red").To("blue"), "2")
		emit(t, io.To("red").Volatile(), "volatile")
		emit(t, io.To("red").Local(), "local")
		emit(t, io.Of("/other").To("red"), "of another namespace")
		emit(t, io.To(socketio.Room(p.id)), "private")
		emit(t, io.To("red").Except(socketio.Room(p.id)), "not for this socket")
		emit(t, io.To("red").Except(socketio.Room(other.id)), "3")
		emit(t, io.To("red").Except("red"), "for nobody")
		p.wantHistory(p.joinRoom("red"), `earlier map[complete:true events:[[said 1] [said 2] [said 3]] room:red]`)
		emit(t, io.To("red"), "4")
		p.wantHistory(p.joinRoom("red"), "") // it is in the room already
		p.wantEvents("said to all", "said private", `earlier map[complete:true events:[[said 1] [said 2] [said 3]] room:red]`, "said 4")
		p.ask(`["leave","red"]`)
		emit(t, io.To("red"), "5")
		p.wantHistory(p.joinRoom("red"), `earlier map[complete:true events:[[said 1] [said 2] [said 3] [said 4] [said 5]] room:red]`)
	})
}
