package migrations_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// A role without the rights to migrate is told which role has them, and changes nothing.
func TestMigrate_RoleWithoutRights(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	conn := connectTo(t, dsn)
	role, owner := schema+"_app", schema+"_owner"
	for _, name := range []string{role, owner} {
		conn.exec(t, "create role "+name+" login password 'p'")
		t.Cleanup(func() { conn.exec(t, "drop owned by "+name+" cascade; drop role "+name) })
	}
	as := func(role string) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(role, "p")
		return u.String()
	}
	opts := &migrations.Options{Schema: schema}
	want := func(what string, err error, says string) {
		t.Helper()
		if says = fmt.Sprintf("migrations: schema %q: role %q may not ", schema, role) + says; err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%s: %v\nwant: %s", what, err, says)
		}
	}
	up := func() error { return migrations.Up(t.Context(), as(role), opts) }
	down := func() error { return migrations.Down(t.Context(), as(role), opts) }

	want("up without a schema", up(), fmt.Sprintf("create it; run this as a role with CREATE on database %q: ", conn.text(t, "select current_database()")))
	asOwner := fmt.Sprintf("change it; run this as its owner, role %q: ", owner)
	conn.exec(t, "create schema "+schema+" authorization "+owner)
	want("up in an empty schema", up(), asOwner)
	if err := migrations.Up(t.Context(), as(owner), opts); err != nil {
		t.Fatal(err)
	}
	want("up without any right", up(), asOwner)
	want("down without any right", down(), asOwner)
	conn.exec(t, fmt.Sprintf("grant usage on schema %[1]s to %[2]s; grant all on all tables in schema %[1]s to %[2]s", schema, role))
	want("down by the role of nodes", down(), asOwner)

	// The schema of a superuser is trusted: what fails is a statement.
	conn.exec(t, "grant create on schema "+schema+" to current_user; alter schema "+schema+" owner to current_user")
	asSuperuser := fmt.Sprintf("change it; run this as its owner, role %q: ERROR: ", conn.text(t, "select current_user"))
	want("down in the schema of a superuser", down(), asSuperuser)
	conn.exec(t, "update "+schema+".meta set works_from = 9; alter table "+schema+".meta alter column schema_version set default 9; revoke all on "+schema+".meta from "+role)
	want("up of a later schema", up(), asSuperuser)
}
