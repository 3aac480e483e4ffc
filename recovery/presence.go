package recovery

import (
	"context"
	"encoding/json"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A PresenceStore is a Store that knows which sessions are members of which rooms, and
// tells the watchers of a room of every change.
//
// It accepts Session.Presence and Change.Presence, and keeps them like Data. A session
// is a member from then on, while it is parked too, and until a Change or the end of the
// session: Release without Park, its expiry, or another removal.
//
// Each change of a room is announced once: the store publishes an event to the log, see
// PresenceAnnouncement, soon after the change is durable, whichever nodes die meanwhile.
// Several changes may be in one announcement, and a room that changes all the time is
// announced at most once per PresenceInterval, or a few times where each announcement is
// as large as it may be. The announcements of a topic have rising versions, in the order
// of the log. An announcement says what is different between the announced state
// before it and the one after it.
type PresenceStore interface {
	Store

	// Members returns the members of a topic, sorted by ID: with all changes whose Receipt
	// has completed before the call, on any node.
	Members(ctx context.Context, t PresenceTopic) ([]PresenceMember, error)

	// Announced returns the announced state of a topic, sorted by ID, and its version: the
	// last one in an announcement, or, if there was none or the store has forgotten the
	// topic, a version that is less than any later one and not less than any earlier one.
	// It includes every announcement that a node was given before the call.
	Announced(ctx context.Context, t PresenceTopic) (PresenceList, error)
}

// PresenceInterval is the least time between two announcements of a topic.
const PresenceInterval = 100 * time.Millisecond

// Bounds of one announcement. A larger one is split.
const (
	announcedMembers = 500
	announcedBytes   = 128 << 10
)

// A PresenceKey is a room in which a session is present: the name of the event that
// tells watchers of it, and the room.
type PresenceKey struct{ Event, Room string }

// A PresenceTopic is a PresenceKey in a namespace: what watchers watch.
type PresenceTopic struct {
	Namespace string
	PresenceKey
}

// A PresenceMember is a session that is present, with its state, which is JSON.
type PresenceMember struct {
	ID    string          `json:"id"` // Session.ID
	State json.RawMessage `json:"state"`
}

// A PresenceList is the announced state of a topic.
type PresenceList struct {
	Version int64
	Members []PresenceMember
}

// A PresenceAnnouncement is the payload of the event that a PresenceStore publishes.
type PresenceAnnouncement struct {
	Room    string           `json:"room"`
	Version int64            `json:"version"`
	Entered []PresenceMember `json:"entered,omitempty"`
	Updated []PresenceMember `json:"updated,omitempty"`
	Left    []string         `json:"left,omitempty"`
}

// Envelope returns the event: to the watchers of the topic, with the name of the topic's
// event.
func (a *PresenceAnnouncement) Envelope(t PresenceTopic) (*adapter.Envelope, error) {
	payload, err := json.Marshal([]any{t.Event, a})
	if err != nil {
		return nil, err
	}
	watchers := adapter.WatchRequest{Event: t.Event, Room: t.Room}.Watchers()
	return &adapter.Envelope{
		Kind: adapter.Event, Namespace: t.Namespace, Audience: adapter.Audience{Rooms: []string{watchers}}, Payload: payload,
	}, nil
}
