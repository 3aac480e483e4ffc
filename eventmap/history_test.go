package eventmap_test

import (
	"strings"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/eventmap"
)

// TestTypeScript_History compares the type of a history, whose events are those of its
// namespace.
func TestTypeScript_History(t *testing.T) {
	t.Parallel()
	got := typeScript(t, eventmap.Map{Namespaces: []eventmap.Namespace{{
		Name:           "/chat",
		ServerToClient: eventmap.List(socketio.Event[string]("posted"), socketio.History("earlier"), socketio.History("older")),
	}}})
	for _, want := range []string{
		`"earlier": (payload: ChatRoomHistory) => void;`,
		`export interface ChatRoomHistory {
  room: string;
  events: ChatPastEvent[];
  complete: boolean;
}`,
		`export type ChatPastEvent = {
  [Event in Exclude<keyof ChatServerToClientEvents, "earlier" | "older">]: [event: Event, ...args: Parameters<ChatServerToClientEvents[Event]>];
}[Exclude<keyof ChatServerToClientEvents, "earlier" | "older">];`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nis not in\n%s", want, got)
		}
	}
}
