package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/pgsocket/socketio/adapter"
)

func tailCommand() command {
	return command{
		name:  "tail",
		about: "print events of all nodes as they are emitted, until interrupted",
		prepare: func(flags *flag.FlagSet) action {
			namespace := flags.String("namespace", "", "only events of the namespace with this `name`")
			room := flags.String("room", "", "only events that reach a socket which is in this `room` alone")
			return func(ctx context.Context, db database, args []string) error {
				if len(args) != 0 {
					return fmt.Errorf("%w: tail takes none", errUsage)
				}
				return tail(ctx, db, &printer{namespace: *namespace, room: *room})
			}
		},
	}
}

func tail(ctx context.Context, db database, p *printer) error {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is an error of the write
	joined, err := db.open(ctx, "pgsocket tail")
	if err != nil {
		return err
	}
	p.id = rand.Text()
	failed := make(chan error, 1)
	p.failed = failed
	if _, err := joined.Bind(p); err != nil {
		return errors.Join(err, closeDB(ctx, joined))
	}
	select {
	case err = <-failed: // the output is closed
	case <-ctx.Done():
	}
	return errors.Join(err, closeDB(ctx, joined))
}

// A printer prints the records that are delivered. It implements adapter.Local.
type printer struct {
	namespace, room string
	id              string
	failed          chan<- error
}

// ID implements adapter.Local.
func (p *printer) ID() string { return p.id }

// Deliver implements adapter.Local. It waits for the reader of the output: only this
// process falls behind, and LogGap reports when it is too far behind.
func (p *printer) Deliver(batch []adapter.Delivery) {
	var out strings.Builder
	for _, d := range batch {
		if p.wants(d) {
			fmt.Fprintf(&out, "%d  %s  %s  %s%s\n", d.Offset.Position, d.Namespace, audience(d), verb(d.Kind), d.Payload)
		}
	}
	if _, err := os.Stdout.WriteString(out.String()); err != nil {
		select {
		case p.failed <- err:
		default: // reported already
		}
	}
}

// LogTruncated implements adapter.Local.
func (p *printer) LogTruncated(at adapter.Offset) {
	fmt.Fprintf(os.Stderr, "pgsocket: the database has lost the events after position %d; new ones follow\n", at.Position)
}

// LogGap implements adapter.Local.
func (p *printer) LogGap(at adapter.Offset, cause error) {
	fmt.Fprintf(os.Stderr, "pgsocket: events are missing before position %d: %v\n", at.Position, cause)
}

// verb returns the text before the payload of an operation.
func verb(k adapter.Kind) string {
	switch k {
	case adapter.Join:
		return "joins "
	case adapter.Leave:
		return "leaves "
	case adapter.Disconnect:
		return "disconnected"
	default:
		return ""
	}
}

func (p *printer) wants(d adapter.Delivery) bool {
	return (d.Kind == adapter.Event || d.Kind == adapter.Volatile || d.Kind.Operation()) &&
		(p.namespace == "" || d.Namespace == p.namespace) &&
		(p.room == "" || d.Audience.Includes([]string{p.room}))
}

// audience describes the audience of an event: to lobby except "my room", volatile.
func audience(d adapter.Delivery) string {
	text := "to everybody"
	switch {
	case d.Audience.IsNobody():
		text = "to nobody"
	case len(d.Audience.Rooms) > 0:
		text = "to " + names(d.Audience.Rooms)
	}
	if len(d.Audience.Except) > 0 {
		text += " except " + names(d.Audience.Except)
	}
	if d.Kind == adapter.Volatile {
		text += ", volatile"
	}
	return text
}

func names(rooms []string) string {
	quoted := make([]string, len(rooms))
	for i, room := range rooms {
		quoted[i] = room
		if strconv.Quote(room) != `"`+room+`"` || strings.ContainsAny(room, " ,") {
			quoted[i] = strconv.Quote(room)
		}
	}
	return strings.Join(quoted, ", ")
}
