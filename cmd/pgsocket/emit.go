package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/pgadapter"
)

func emitCommand(db *database) *cobra.Command {
	var e emission
	cmd := &cobra.Command{
		Use:   "emit event [argument …]",
		Short: "emit an event, with arguments in JSON, to the sockets of all nodes",
		Long: `Emit an event, with arguments in JSON, to the sockets of all nodes.

It exits when the event is in the log; clients that are away receive it when they return.
A role that has allow_emit and no rights of a node emits with the SQL function: the command exits
when the event is committed, and a node takes it into the log.`,
		Example: `  pgsocket emit news '{"title":"Hello"}'
  pgsocket emit chat --room lobby --room hall --except muted '"text"' 42
  pgsocket emit temperature -- -5`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("the name of the event is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := e.parse(args); err != nil {
				return err
			}
			return e.emit(cmd.Context(), db)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&e.namespace, "namespace", "/", "to sockets of the namespace with this `name`")
	flags.StringArrayVar(&e.rooms, "room", nil, "to sockets in this `room`; may be repeated (default everybody)")
	flags.StringArrayVar(&e.except, "except", nil, "but not to sockets in this `room`; may be repeated")
	flags.BoolVar(&e.volatile, "volatile", false, "do not replay it to clients that are away")
	flags.BoolVar(&e.json, "json", false, "print the offset of the event as an object in JSON")
	return cmd
}

// An emission is an event and its audience.
type emission struct {
	namespace      string
	rooms, except  []string
	volatile, json bool
	event          string
	args           arguments
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
	e.event = args[0]
	for _, arg := range args[1:] {
		if !json.Valid([]byte(arg)) {
			return fmt.Errorf("%w: %s is not JSON; a string is given as '\"text\"'", errUsage, arg)
		}
		e.args = append(e.args, json.RawMessage(arg))
	}
	return nil
}

func (e *emission) audience(emitter *socketio.Emitter) socketio.Audience {
	to := emitter.Of(e.namespace).Audience
	if len(e.rooms) > 0 { // else everybody, the default of the flag
		to = to.To(roomsOf(e.rooms)...)
	}
	to = to.Except(roomsOf(e.except)...)
	if e.volatile {
		to = to.Volatile()
	}
	return to
}

func roomsOf(names []string) []socketio.Room {
	rooms := make([]socketio.Room, len(names))
	for i, name := range names {
		rooms[i] = socketio.Room(name)
	}
	return rooms
}

func (e *emission) emit(ctx context.Context, db *database) error {
	log, err := pgadapter.OpenEmitter(ctx, db.dsn, &pgadapter.EmitterOptions{Schema: db.schema, ConnectTimeout: db.wait, Logger: logger()})
	if errors.Is(err, pgadapter.ErrSchema) && isDenied(err) {
		return e.emitSQL(ctx, db, err)
	}
	if err != nil {
		return err
	}
	err = e.publish(ctx, log)
	return errors.Join(err, leave(ctx, log.Close))
}

// emitSQL emits with the SQL function, for a role that is denied to append to the log.
func (e *emission) emitSQL(ctx context.Context, db *database, denied error) error {
	if e.json {
		return fmt.Errorf("the role may not append to the log, and an event from SQL has no offset yet; leave out --json, or: %w", denied)
	}
	envelope, err := e.envelope(socketio.NewEmitter(nil))
	if err != nil {
		return err
	}
	conn, err := db.connect(ctx)
	if err != nil {
		return err
	}
	_, err = pgadapter.EmitTx(ctx, conn, envelope, &pgadapter.EmitOptions{Schema: db.schema})
	return errors.Join(err, leave(ctx, conn.Close))
}

func (e *emission) envelope(emitter *socketio.Emitter) (*adapter.Envelope, error) {
	envelope, err := socketio.Event[arguments](e.event).Envelope(e.audience(emitter), e.args)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return envelope, nil
}

func (e *emission) publish(ctx context.Context, log *pgadapter.Emitter) error {
	envelope, err := e.envelope(socketio.NewEmitter(log))
	if err != nil {
		return err
	}
	receipt, err := log.Publish(ctx, envelope)
	if err != nil {
		return err
	}
	if err := receipt.Wait(ctx); err != nil {
		return fmt.Errorf("emit %s: %w", e.event, err)
	}
	if !e.json {
		return nil
	}
	offset := receipt.Offset()
	return newScreen(os.Stdout).writeJSON(map[string]any{"position": offset.Position, "offset": offset.String()})
}
