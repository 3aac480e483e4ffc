package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"

	"github.com/pgsocket/socketio/migrations"
)

func migrateCommand() command {
	return command{
		name:    "migrate",
		usage:   "up|down|version|force n",
		about:   "create or update the tables, remove them, print their version, or record it",
		prepare: func(*flag.FlagSet) action { return migrate },
	}
}

func migrate(ctx context.Context, db database, args []string) error {
	if len(args) != 1 && (len(args) != 2 || args[0] != "force") {
		return fmt.Errorf("%w: up, down, version or force n?", errUsage)
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
	case "force":
		if err := force(ctx, db, args[1:], opts); err != nil {
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
		return fmt.Errorf("schema %q: another tool recorded an incomplete migration; the tables have version %d, and pgsocket migrate up continues from there", db.schema, version)
	}
	fmt.Printf("schema %q has version %d; the latest is %d\n", db.schema, version, migrations.Latest)
	return nil
}

// force records the version of the schema.
func force(ctx context.Context, db database, args []string, opts *migrations.Options) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: force which version?", errUsage)
	}
	version, err := strconv.ParseUint(args[0], 10, 31)
	if err != nil {
		return fmt.Errorf("%w: %q is no version", errUsage, args[0])
	}
	return migrations.Force(ctx, db.dsn, uint(version), opts)
}
