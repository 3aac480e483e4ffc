package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pgsocket/socketio/migrations"
)

func migrateCommand(db *database) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "create or update the tables, remove them, print their version, or record it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("%w: migrate what? up, down, version or force n", errUsage)
		},
	}
	var asJSON bool
	step := func(use, short string, args cobra.PositionalArgs, do func(context.Context, *migrations.Options, []string) error) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			opts := &migrations.Options{Schema: db.schema, ConnectTimeout: db.wait, Logger: logger()}
			if err := do(cmd.Context(), opts, args); err != nil {
				return err
			}
			return printVersion(cmd.Context(), db, opts, asJSON)
		}})
	}
	step("up", "create the tables, or update them to the latest version", cobra.NoArgs,
		func(ctx context.Context, o *migrations.Options, _ []string) error {
			return migrations.Up(ctx, db.dsn, o)
		})
	step("down", "remove the tables, with all that is in them", cobra.NoArgs,
		func(ctx context.Context, o *migrations.Options, _ []string) error {
			return migrations.Down(ctx, db.dsn, o)
		})
	step("version", "print the version of the tables", cobra.NoArgs,
		func(context.Context, *migrations.Options, []string) error { return nil })
	step("force n", "record that the tables have version n, after a manual repair", func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("one version is needed, not %d", len(args))
		}
		return nil
	},
		func(ctx context.Context, o *migrations.Options, args []string) error {
			return force(ctx, db, args[0], o)
		})
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print an object in JSON")
	return cmd
}

// force records the version of the schema.
func force(ctx context.Context, db *database, text string, opts *migrations.Options) error {
	version, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return fmt.Errorf("%w: %q is no version", errUsage, text)
	}
	return migrations.Force(ctx, db.dsn, uint(version), opts)
}

// printVersion prints the version of the schema. It returns an error if the schema is dirty.
func printVersion(ctx context.Context, db *database, opts *migrations.Options, asJSON bool) error {
	version, dirty, err := migrations.Version(ctx, db.dsn, opts)
	if err != nil {
		return err
	}
	if asJSON {
		err = newScreen(os.Stdout).writeJSON(map[string]any{"schema": db.schema, "version": version, "latest": migrations.Latest, "dirty": dirty})
	} else if !dirty {
		_, err = fmt.Printf("schema %q has version %d; the latest is %d\n", db.schema, version, migrations.Latest)
	}
	if dirty {
		return fmt.Errorf("schema %q: another tool recorded an incomplete migration; the tables have version %d, and pgsocket migrate up continues from there", db.schema, version)
	}
	return err
}
