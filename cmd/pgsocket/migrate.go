package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/pgsocket/socketio/migrations"
)

func migrateCommand() command {
	return command{
		name:    "migrate",
		usage:   "up|down|version",
		about:   "create or update the tables, remove them, or say which version they have",
		prepare: func(*flag.FlagSet) action { return migrate },
	}
}

func migrate(ctx context.Context, db database, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: up, down or version?", errUsage)
	}
	opts := &migrations.Options{Schema: db.schema}
	switch args[0] {
	case "up":
		if err := migrations.Up(ctx, db.dsn, opts); err != nil {
			return err
		}
	case "down":
		if err := migrations.Down(ctx, db.dsn, opts); err != nil {
			return err
		}
	case "version":
	default:
		return fmt.Errorf("%w: migrate %q", errUsage, args[0])
	}
	version, dirty, err := migrations.Version(ctx, db.dsn, opts)
	if err != nil {
		return err
	}
	if dirty {
		return fmt.Errorf("schema %q: the migration to version %d broke off", db.schema, version)
	}
	fmt.Printf("schema %q has version %d; the latest is %d\n", db.schema, version, migrations.Latest)
	return nil
}
