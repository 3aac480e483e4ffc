package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/migrations"
)

func checkSchema(ctx context.Context, t *target) (Finding, error) {
	version, dirty, err := migrations.Version(ctx, t.o.DSN, &migrations.Options{Schema: t.o.Schema, ConnectTimeout: -1, Logger: t.o.Logger})
	if err != nil {
		return Finding{}, err
	}
	f := ok("schema %q has version %d; this program works with %d to %d", t.o.Schema, version, migrations.Oldest, migrations.Latest)
	switch {
	case version == 0:
		f.advise(Fail, "it has no pgsocket tables", "pgsocket migrate up, or another --schema")
		return f, nil
	case version < migrations.Oldest:
		f.advise(Fail, "it is too old", "pgsocket migrate up")
		return f, nil
	case version > migrations.Latest:
		if err := t.checkLater(ctx, &f); err != nil || f.Status == Fail {
			return f, err
		}
	case version < migrations.Latest:
		f.advise(Warn, "it is not the latest", "pgsocket migrate up")
	}
	if dirty {
		f.advise(Fail, "another tool recorded an incomplete migration", "pgsocket migrate up, which continues it")
	}
	t.tables = true
	return f, nil
}

// checkLater checks whether this program works with a later schema.
func (t *target) checkLater(ctx context.Context, f *Finding) error {
	var worksFrom int
	err := t.row(ctx, "works_from", nil, &worksFrom)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		f.advise(Fail, "the table meta has lost its only row", "pgsocket migrate up of the program that created it")
	case err != nil:
		return err
	case worksFrom > migrations.Latest:
		f.advise(Fail, fmt.Sprintf("it needs programs that know version %d", worksFrom), "upgrade this program and the nodes")
	default:
		f.advise(OK, "it works with this program")
	}
	return nil
}

func checkPrivileges(ctx context.Context, t *target) (Finding, error) {
	var mayEmit bool
	if err := t.row(ctx, "may_emit", []any{t.o.Schema}, &mayEmit); err != nil {
		return Finding{}, err
	}
	schema, role := pgx.Identifier{t.o.Schema}.Sanitize(), pgx.Identifier{t.server.role}.Sanitize()
	if t.o.Emitter {
		if mayEmit {
			return ok("role %s may emit from SQL", t.server.role), nil
		}
		f := Finding{}
		f.advise(Fail, fmt.Sprintf("role %s may not emit", t.server.role), fmt.Sprintf("select %s.allow_emit('%s');", schema, strings.ReplaceAll(role, "'", "''")))
		return f, nil
	}
	missing, err := collect(ctx, t, "privileges", []any{t.o.Schema}, func(r pgx.CollectableRow) (string, error) {
		var privilege, kind string
		var names []string
		err := r.Scan(&privilege, &kind, &names)
		return privilege + " on " + kind + " " + someOf(names), err
	})
	if err != nil {
		return Finding{}, err
	}
	if len(missing) == 0 {
		return ok("role %s may run nodes and emit", t.server.role), nil
	}
	f := Finding{}
	f.advise(Fail, fmt.Sprintf("role %s lacks for a node: %s", t.server.role, strings.Join(missing, ", ")),
		"grant usage on schema "+schema+" to "+role+";",
		"grant select, insert, update, delete, truncate on all tables in schema "+schema+" to "+role+";",
		"grant usage on all sequences in schema "+schema+" to "+role+";",
		"grant execute on all functions in schema "+schema+" to "+role+";")
	if mayEmit {
		f.advise(Fail, "it may emit from SQL", "for a role that only emits, pgsocket doctor --emitter")
	}
	return f, nil
}

// someOf returns the first names of a list and how many there are more.
func someOf(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
