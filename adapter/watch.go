package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
)

// A WatchRequest is the payload of a Watch, as JSON: the presence that sockets watch.
type WatchRequest struct {
	Event string `json:"event"` // the name of the event that watchers receive
	Room  string `json:"room"`  // the room whose members they receive
}

// WatchersPrefix begins the names of the rooms that watchers are in, and no other
// names that a client may choose.
const WatchersPrefix = "\x1f"

// Watchers returns the name of the room that the watchers are in. An event has no
// WatchersPrefix in its name, so the name is that of one request.
func (q WatchRequest) Watchers() string { return WatchersPrefix + q.Event + WatchersPrefix + q.Room }

var errNoPresence = errors.New("no event or room")

// WatchRequest returns the request in the payload of a Watch.
func (e *Envelope) WatchRequest() (WatchRequest, error) {
	var q WatchRequest
	err := json.Unmarshal(e.Payload, &q)
	if err == nil && (q.Event == "" || q.Room == "") {
		err = errNoPresence
	}
	if err != nil {
		return WatchRequest{}, fmt.Errorf("decode the request of a watcher: %w", err)
	}
	return q, nil
}
