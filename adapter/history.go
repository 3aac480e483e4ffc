package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A HistoryRequest is the payload of a History, as JSON: the room that sockets join, and
// what they receive of the events that were emitted to it before. It has all that decides
// on the content except the log itself, so that every node that sends the event of a
// History, now or in a replay, sends the same one.
type HistoryRequest struct {
	Event string   `json:"event"`          // the name of the event that sockets receive
	Room  string   `json:"room"`           //
	Last  int      `json:"last,omitzero"`  // at most so many events, the newest; 0: no such limit
	Since int64    `json:"since,omitzero"` // none from before this time, in milliseconds since 1970; 0: no such limit
	Only  []string `json:"only,omitempty"` // none with other names; empty: no such limit
	Most  int      `json:"most,omitzero"`  // bound on the number of events
	Bytes int      `json:"bytes,omitzero"` // bound on their size
}

var errNoRoom = errors.New("no room")

// HistoryRequest returns the request in the payload of a History.
func (e *Envelope) HistoryRequest() (HistoryRequest, error) {
	var q HistoryRequest
	err := json.Unmarshal(e.Payload, &q)
	if err == nil && q.Room == "" {
		err = errNoRoom
	}
	if err != nil {
		return HistoryRequest{}, fmt.Errorf("decode the request of a history: %w", err)
	}
	return q, nil
}

// A PastDelivery is a record of the log with the time at which it was appended, or, if
// the node does not know that, at which the node read it.
type PastDelivery struct {
	Delivery

	At time.Time
}

// A RoomIndex has the positions of the events of each room in a part of the log that an
// adapter keeps in memory. It helps to implement ReadRoom. The zero value is empty. It is
// not safe for concurrent use, and nil is an index that stays empty.
type RoomIndex struct {
	rooms map[indexedRoom]*roomPositions
	bytes int
}

type indexedRoom struct{ namespace, room string }

// A roomPositions is the positions of the events of a room: those from first on.
type roomPositions struct {
	at    []Position // oldest first
	first int        // the ones before are removed
}

// The approximate bytes of memory that a room and a position take, with room to grow.
const (
	indexedRoomMemory = 160
	positionMemory    = 16
)

// Bytes returns the approximate size of the index in memory.
func (x *RoomIndex) Bytes() int {
	if x == nil {
		return 0
	}
	return x.bytes
}

// Add adds a record at the end.
func (x *RoomIndex) Add(d *Delivery) {
	if x == nil || d.Kind != Event {
		return
	}
	if x.rooms == nil {
		x.rooms = make(map[indexedRoom]*roomPositions)
	}
	for _, name := range d.Audience.Rooms {
		r := indexedRoom{d.Namespace, name}
		room, ok := x.rooms[r]
		if !ok {
			room = &roomPositions{}
			x.rooms[r] = room
			x.bytes += indexedRoomMemory
		}
		if n := len(room.at); n == 0 || room.at[n-1] != d.Offset.Position { // the audience may name a room twice
			room.at = append(room.at, d.Offset.Position)
			x.bytes += positionMemory
		}
	}
}

// RemoveFirst removes the oldest record.
func (x *RoomIndex) RemoveFirst(d *Delivery) {
	x.remove(d, func(room *roomPositions) {
		if room.at[room.first] != d.Offset.Position {
			return
		}
		x.bytes -= positionMemory
		if room.first++; room.first > len(room.at)/2 { // each position is copied once for each one that is removed
			room.at, room.first = slices.Clone(room.at[room.first:]), 0
		}
	})
}

// RemoveLast removes the newest record.
func (x *RoomIndex) RemoveLast(d *Delivery) {
	x.remove(d, func(room *roomPositions) {
		if last := len(room.at) - 1; room.at[last] == d.Offset.Position {
			x.bytes -= positionMemory
			room.at = room.at[:last]
		}
	})
}

// remove calls f for the rooms of a record that have positions.
func (x *RoomIndex) remove(d *Delivery, f func(*roomPositions)) {
	if x == nil || d.Kind != Event {
		return
	}
	for _, name := range d.Audience.Rooms {
		r := indexedRoom{d.Namespace, name}
		room, ok := x.rooms[r]
		if !ok {
			continue // the audience names the room twice
		}
		if f(room); room.first == len(room.at) {
			delete(x.rooms, r)
			x.bytes -= indexedRoomMemory
		}
	}
}

// Before returns up to n positions of the room's events, newest first, that are at most to.
func (x *RoomIndex) Before(namespace, room string, to Position, n int) []Position {
	if x == nil || x.rooms[indexedRoom{namespace, room}] == nil {
		return nil
	}
	positions := x.rooms[indexedRoom{namespace, room}]
	at := positions.at[positions.first:]
	end, exact := slices.BinarySearch(at, to)
	if exact {
		end++
	}
	found := slices.Clone(at[max(0, end-n):end])
	slices.Reverse(found)
	return found
}
