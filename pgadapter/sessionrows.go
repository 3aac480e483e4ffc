package pgadapter

import (
	"encoding/json"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

type keyRows struct {
	pids   []string
	epochs []int64
}

func (r *keyRows) add(k recovery.Key) {
	r.pids = append(r.pids, k.PIDHash)
	r.epochs = append(r.epochs, k.Epoch)
}

type openRows struct {
	keyRows

	sids, namespaces, offsets, seen, identities []string
	windows, opened, covered                    []int64
}

// stillIn is the left position of a room that the session is still in.
const stillIn int64 = -1

type roomRows struct {
	keyRows

	rooms []string
	at    []int64
	left  []int64 // stillIn: the session is still in the room
}

func (r *roomRows) add(k recovery.Key, room string, at, left int64) {
	r.keyRows.add(k)
	r.rooms = append(r.rooms, toText(room))
	r.at = append(r.at, at)
	r.left = append(r.left, left)
}

type dataRows struct {
	keyRows

	keys, values []string
}

func (r *dataRows) add(k recovery.Key, key string, value []byte) {
	r.keyRows.add(k)
	r.keys = append(r.keys, toText(key))
	r.values = append(r.values, string(value))
}

type presenceRows struct {
	keyRows

	events, rooms, states []string
}

func (r *presenceRows) add(k recovery.Key, p recovery.PresenceKey, state []byte) {
	r.keyRows.add(k)
	r.events, r.rooms = append(r.events, p.Event), append(r.rooms, p.Room)
	r.states = append(r.states, string(state))
}

type endRows struct {
	keyRows

	at       []int64
	last     []string
	released []bool
}

// roomIntervalOf converts a row of session_rooms.
func roomIntervalOf(room string, joined adapter.Position, left *adapter.Position) recovery.RoomInterval {
	interval := recovery.RoomInterval{Room: fromText(room), Joined: joined}
	if left != nil {
		interval.Ended, interval.Left = true, *left
	}
	return interval
}

// setData sets a value under a key as stored in the table.
func setData(s *recovery.Session, key string, value []byte) {
	if s.Data == nil {
		s.Data = make(map[string]json.RawMessage)
	}
	s.Data[fromText(key)] = value
}
