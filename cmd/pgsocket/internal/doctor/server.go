package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// oldestPostgres is the oldest major version that the project is tested with.
const oldestPostgres = 15

// A server is the row of server.sql.
type server struct {
	version   string
	number    int
	encoding  string
	standby   bool
	readOnly  string
	isolation string
	role      string
	database  string
}

func checkServer(_ context.Context, t *target) (Finding, error) {
	s := &t.server
	f := ok("PostgreSQL %s, encoding %s", s.version, s.encoding)
	if s.number < oldestPostgres*10000 {
		f.advise(Fail, fmt.Sprintf("version %d is the oldest that is supported", oldestPostgres), "upgrade Postgres")
	}
	if s.encoding != "UTF8" && s.encoding != "SQL_ASCII" {
		f.advise(Fail, "nodes refuse this encoding", "create the database with encoding UTF8")
	}
	switch {
	case s.standby:
		f.advise(Fail, "a standby, which is read-only", "use the address of the primary; with an address of several hosts add target_session_attrs=read-write")
	case s.readOnly == "on":
		f.advise(Fail, "connections are read-only", "reset default_transaction_read_only for the role, the database or the server")
	default:
		f.Fact += ", a primary"
	}
	return f, nil
}

func checkIsolation(_ context.Context, t *target) (Finding, error) {
	if level := t.server.isolation; level != "read committed" {
		f := Finding{}
		f.advise(Fail, fmt.Sprintf("%s is %q, and the pooler does not pass the setting of nodes on", isolationSetting, level),
			fmt.Sprintf("alter role %s set %s = 'read committed';", pgx.Identifier{t.server.role}.Sanitize(), isolationSetting))
		return f, nil
	}
	if t.pinned {
		return ok("read committed, which nodes set themselves"), nil
	}
	return ok("read committed; the pooler does not pass the setting of nodes on, so it must stay that of the role"), nil
}

// clockTolerance is the difference of clocks from which times in logs mislead.
const clockTolerance = 2 * time.Second

func checkClock(ctx context.Context, t *target) (Finding, error) {
	began := time.Now()
	var at int64
	if err := t.row(ctx, "clock", nil, &at); err != nil {
		return Finding{}, err
	}
	took := time.Since(began)
	ahead := time.UnixMicro(at).Sub(began.Add(took / 2))
	f := ok("the clock of Postgres is %v from that of this machine, as exact as %v", ahead.Round(time.Millisecond), (took / 2).Round(time.Millisecond/10))
	if ahead.Abs() > clockTolerance+took/2 {
		f.advise(Warn, "no node compares clocks, but that of Postgres decides when sessions and events expire, and logs are hard to compare",
			"synchronize both machines with NTP; do not set the clock of Postgres forward in a jump (docs/recovery.md)")
	}
	return f, nil
}
