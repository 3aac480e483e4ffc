package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A record is a record of the log as tail prints it.
type record struct {
	At          time.Time         `json:"at"` // when Postgres appended it
	Position    int64             `json:"position"`
	Offset      string            `json:"offset"`
	Kind        string            `json:"kind"` // event, volatile, join, leave, disconnect or history
	Namespace   string            `json:"namespace"`
	Everybody   bool              `json:"everybody"` // no rooms limit the audience
	Rooms       []string          `json:"rooms"`
	Except      []string          `json:"except"`
	Event       string            `json:"event,omitempty"`
	Args        []json.RawMessage `json:"args,omitempty"`
	Changed     []string          `json:"changed_rooms,omitempty"` // that the audience joins or leaves
	Attachments int               `json:"attachments,omitempty"`   // binary arguments, which are not printed

	payload string
}

func newRecord(d adapter.Delivery) record {
	r := record{
		Position: int64(d.Offset.Position), Offset: d.Offset.String(), Kind: kindName(d.Kind), Namespace: d.Namespace,
		Everybody: !d.Audience.IsNobody() && len(d.Audience.Rooms) == 0,
		Rooms:     append([]string{}, d.Audience.Rooms...), Except: append([]string{}, d.Audience.Except...),
		Attachments: len(d.Attachments), payload: string(d.Payload),
	}
	switch d.Kind {
	case adapter.Event, adapter.Volatile:
		r.parse(d.Payload)
	case adapter.Join, adapter.Leave, adapter.History, adapter.Watch:
		r.Changed, _ = d.RoomList() // another payload is printed as it is
	default:
	}
	return r
}

// parse takes the name and the arguments from the payload of an event. The payload of
// another writer may be anything, and is then printed as it is.
func (r *record) parse(payload []byte) {
	var all []json.RawMessage
	if json.Unmarshal(payload, &all) == nil && len(all) > 0 && json.Unmarshal(all[0], &r.Event) == nil {
		r.Args = all[1:]
	}
}

func kindName(k adapter.Kind) string {
	switch k {
	case adapter.Event:
		return "event"
	case adapter.Volatile:
		return "volatile"
	case adapter.Join:
		return "join"
	case adapter.Leave:
		return "leave"
	case adapter.Disconnect:
		return "disconnect"
	case adapter.History:
		return "history"
	case adapter.Watch:
		return "watch"
	default:
		return strconv.Itoa(int(k))
	}
}

// timeFormat has milliseconds, and the date because a log may be of yesterday.
const timeFormat = "2006-01-02 15:04:05.000"

// write writes the record as a line.
func (p *printer) write(w io.Writer, r record) error {
	if p.json {
		r.At = r.At.UTC()
		return json.NewEncoder(w).Encode(r)
	}
	s := p.screen
	_, err := fmt.Fprintf(w, "%s  %s  %s  %s  %s%s\n", s.paint(dim, r.At.Format(timeFormat)), s.paint(dim, strconv.FormatInt(r.Position, 10)),
		s.paint(cyan, printable(r.Namespace)), s.paint(yellow, r.audience()), s.paint(red, r.verb()), printable(r.payload))
	return err
}

// verb returns the text before the payload of an operation.
func (r *record) verb() string {
	switch r.Kind {
	case "join":
		return "joins "
	case "leave":
		return "leaves "
	case "history":
		return "joins with history "
	case "watch":
		return "watches "
	case "disconnect":
		return "disconnected"
	}
	return ""
}

// audience describes the audience of an event: to lobby except "my room", volatile.
func (r *record) audience() string {
	text := "to nobody"
	switch {
	case r.Everybody:
		text = "to everybody"
	case len(r.Rooms) > 0:
		text = "to " + quotedNames(r.Rooms)
	}
	if len(r.Except) > 0 {
		text += " except " + quotedNames(r.Except)
	}
	if r.Kind == "volatile" {
		text += ", volatile"
	}
	return text
}

func quotedNames(rooms []string) string {
	quoted := make([]string, len(rooms))
	for i, room := range rooms {
		quoted[i] = room
		if strconv.Quote(room) != `"`+room+`"` || strings.ContainsAny(room, " ,") {
			quoted[i] = strconv.Quote(room)
		}
	}
	return strings.Join(quoted, ", ")
}
