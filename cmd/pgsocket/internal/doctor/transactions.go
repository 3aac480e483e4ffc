package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// checkTransactions looks for old transactions. They hold back vacuum, the resources of
// snapshots, and with LISTEN the queue of notifications.
func checkTransactions(ctx context.Context, t *target) (Finding, error) {
	var seesAll bool
	if err := t.row(ctx, "sees_all", nil, &seesAll); err != nil {
		return Finding{}, err
	}
	f := ok("no transaction is older than %v", t.o.OldTransaction)
	if !seesAll {
		f = skipped("the role sees only its own sessions; a member of pg_read_all_stats sees all")
	}
	var age micro
	var pid int
	var program, role, state string
	err := t.row(ctx, "transactions", nil, &age, &pid, &program, &role, &state)
	if err == nil && age.duration() > t.o.OldTransaction {
		f = Finding{}
		f.advise(Warn, fmt.Sprintf("process %d (%s, role %s) is in a transaction for %v, %s: it holds back vacuum, and snapshot tokens grow", pid, program, role, age.duration().Round(time.Second), state),
			fmt.Sprintf("end it: select pg_terminate_backend(%d); set idle_in_transaction_session_timeout for role %s", pid, role))
	} else if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return f, err
	}
	var name string
	err = t.row(ctx, "prepared", nil, &name, &age)
	if err == nil && age.duration() > t.o.OldTransaction {
		f.advise(Warn, fmt.Sprintf("the prepared transaction %q is %v old", name, age.duration().Round(time.Second)), "commit prepared, or rollback prepared")
	} else if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return f, err
	}
	return f, nil
}

// deadTolerance is the number of dead rows that autovacuum leaves in a small table.
const deadTolerance = 10_000

func checkVacuum(ctx context.Context, t *target) (Finding, error) {
	var autovacuum, table string
	var dead, live int64
	if err := t.row(ctx, "vacuum", []any{t.o.Schema}, &autovacuum, &table, &dead, &live); err != nil {
		return Finding{}, err
	}
	f := ok("autovacuum is %s; the log and the outbox need none", autovacuum)
	if autovacuum != "on" {
		f.advise(Warn, "the tables of sessions grow", "set autovacuum = on")
	}
	if dead > deadTolerance && dead > live {
		f.advise(Warn, fmt.Sprintf("table %s has %d dead rows and %d live ones", table, dead, live),
			"see transactions below, which hold back vacuum; then vacuum "+pgx.Identifier{t.o.Schema, table}.Sanitize())
	}
	return f, nil
}
