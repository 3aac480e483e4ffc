package checker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// RecordKind is the kind of a Record.
type RecordKind string

// The kinds of records. A Requested change that is not Confirmed may have taken effect or not.
const (
	Published RecordKind = "published" // a publisher's event, with its outcome
	Logged    RecordKind = "logged"    // a packet of the log: an event, or an audience that joins or leaves rooms
	Connected RecordKind = "connected" // a client received CONNECT
	Received  RecordKind = "received"  // a client received an event
	Requested RecordKind = "requested" // a client requested to join or leave rooms
	Confirmed RecordKind = "confirmed" // and the node confirmed it
	Noted     RecordKind = "noted"     // text for a transcript
)

// A RoomOp is a change of rooms.
type RoomOp string

// The changes of rooms.
const (
	Join  RoomOp = "join"
	Leave RoomOp = "leave"
)

// A Record is one line of a Recorder.
type Record struct {
	At   int64      `json:"at"` // in nanoseconds of one clock for all
	Kind RecordKind `json:"kind"`

	Client    int      `json:"client,omitempty"`    // number of the client
	Event     ID       `json:"event,omitempty"`     // Published, Logged, Received
	Position  int64    `json:"position,omitempty"`  // Logged
	Op        RoomOp   `json:"op,omitempty"`        // Requested, Confirmed; Logged: empty for an event
	Rooms     []string `json:"rooms,omitempty"`     // that are joined or left
	To        *Target  `json:"to,omitempty"`        // Published, Logged
	Start     int64    `json:"start,omitempty"`     // Published: the call
	End       int64    `json:"end,omitempty"`       // Published: its return, 0 if it is unknown
	Err       string   `json:"err,omitempty"`       // Published: of a failed emit
	Socket    string   `json:"socket,omitempty"`    // Connected: the socket's id
	Recovered bool     `json:"recovered,omitempty"` // Connected: the session was recovered
	Text      string   `json:"text,omitempty"`      // Noted
}

// A Recorder is a history with the log: each receipt has a position in the log, and rooms are checked by positions,
// not by clocks. Its methods may be called from any goroutine.
//
// It knows only what the clients saw and what Postgres stores. A client was certainly in a room from the first event
// that it received after its join was confirmed, and certainly not before the last event that it had received when it
// requested the join.
type Recorder struct {
	mu      sync.Mutex
	records []Record
}

// Add appends a record, at this moment.
func (b *Recorder) Add(r Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.At = time.Now().UnixNano()
	b.records = append(b.records, r)
}

// Emitted records an emit.
func (b *Recorder) Emitted(e Emit) {
	b.Add(Record{Kind: Published, Event: e.ID, To: &e.To, Start: e.Start, End: e.End, Err: e.Err})
}

// Note records text that helps to understand a transcript.
func (b *Recorder) Note(client int, format string, args ...any) {
	b.Add(Record{Kind: Noted, Client: client, Text: fmt.Sprintf(format, args...)})
}

// Count returns how many records there are of each kind.
func (b *Recorder) Count() map[RecordKind]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := make(map[RecordKind]int)
	for i := range b.records {
		n[b.records[i].Kind]++
	}
	return n
}

// Save writes the records to a file, one JSON object a line.
func (b *Recorder) Save(path string) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriter(file)
	lines := json.NewEncoder(out)
	for i := range b.records {
		if err := lines.Encode(&b.records[i]); err != nil {
			return err
		}
	}
	return out.Flush()
}

// Load reads a file that Save has written.
func Load(path string) (*Recorder, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	b := &Recorder{}
	for lines := json.NewDecoder(bufio.NewReader(file)); ; {
		var r Record
		switch err := lines.Decode(&r); {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", len(b.records)+1, err)
		}
		b.records = append(b.records, r)
	}
}
