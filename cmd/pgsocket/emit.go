package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"

	"github.com/pgsocket/socketio"
)

func emitCommand() command {
	return command{
		name:  "emit",
		usage: "event [json …]",
		about: "emit an event, with arguments in JSON, to the sockets of all nodes",
		prepare: func(flags *flag.FlagSet) action {
			var e emission
			flags.StringVar(&e.namespace, "namespace", "/", "to sockets of the namespace with this `name`")
			flags.Func("to", "to sockets in this `room`; may be repeated (default everybody)", e.to.add)
			flags.Func("except", "but not to sockets in this `room`; may be repeated", e.except.add)
			flags.BoolVar(&e.volatile, "volatile", false, "do not replay it to clients that are away")
			return func(ctx context.Context, db database, args []string) error {
				if err := e.parse(args); err != nil {
					return err
				}
				return e.emit(ctx, db)
			}
		},
	}
}

// An emission is an event and its audience.
type emission struct {
	namespace  string
	to, except roomList
	volatile   bool
	event      string
	args       arguments
}

type roomList []socketio.Room

func (l *roomList) add(name string) error {
	*l = append(*l, socketio.Room(name))
	return nil
}

// arguments are those of an event, as JSON.
type arguments []json.RawMessage

// Args implements socketio.Positional.
func (a *arguments) Args() []any {
	all := make([]any, len(*a))
	for i := range *a {
		all[i] = &(*a)[i]
	}
	return all
}

func (e *emission) parse(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: the event is missing", errUsage)
	}
	e.event = args[0]
	for _, arg := range args[1:] {
		if !json.Valid([]byte(arg)) {
			return fmt.Errorf("%w: %s is not JSON; a string is given as '\"text\"'", errUsage, arg)
		}
		e.args = append(e.args, json.RawMessage(arg))
	}
	return nil
}

func (e *emission) emit(ctx context.Context, db database) error {
	joined, err := db.open(ctx, "pgsocket emit")
	if err != nil {
		return err
	}
	// A server without clients: it keeps no sessions, and its events reach the
	// sockets of the other nodes.
	server := socketio.NewServer(&socketio.Options{
		Adapter: joined, Recovery: socketio.Recovery{Disabled: true},
	})
	to := server.Of(e.namespace).All()
	if len(e.to) > 0 { // else everybody, the default of the flag
		to = to.To(e.to...)
	}
	to = to.Except(e.except...)
	if e.volatile {
		to = to.Volatile()
	}
	err = socketio.Event[arguments](e.event).Emit(ctx, to, e.args)
	return errors.Join(err, closeDB(ctx, joined))
}
