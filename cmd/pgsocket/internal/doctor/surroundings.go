package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

func checkNotifications(ctx context.Context, t *target) (Finding, error) {
	var used int
	if err := t.row(ctx, "notifications", nil, &used); err != nil {
		return Finding{}, err
	}
	f := ok("%.1f %% of the queue of notifications is used", float64(used)/10)
	if used >= 500 {
		f.advise(Warn, "a session listens and stays in a transaction; when the queue is full nodes only poll",
			"end that session: it has executed LISTEN, on any channel, and is idle in a transaction (see transactions)")
	}
	return f, nil
}

func checkDurability(ctx context.Context, t *target) (Finding, error) {
	var fsync, fullPages, commit, names string
	var standbys, unseen int64
	var idle []string
	if err := t.row(ctx, "replication", nil, &fsync, &fullPages, &commit, &names, &standbys, &unseen, &idle); err != nil {
		return Finding{}, err
	}
	f := ok("fsync %s, synchronous_commit %s, %d standbys", fsync, commit, standbys)
	if unseen > 0 {
		f = skipped("fsync %s, synchronous_commit %s; %d programs read WAL, and only a member of pg_read_all_stats sees whether they are standbys", fsync, commit, unseen)
	}
	if fsync != "on" || fullPages != "on" {
		f.advise(Warn, "a crash of the machine may lose or damage everything", "set fsync and full_page_writes to on")
	}
	if commit == "off" {
		f.advise(Warn, "a crash loses events that were acknowledged", "reset synchronous_commit for the role, the database or the server")
	}
	switch {
	case standbys == 0:
	case names == "":
		f.advise(Warn, "they are asynchronous: a failover may lose the last events, although they were acknowledged; clients that have seen them get a new session",
			"set synchronous_standby_names, or accept it (docs/recovery.md, When Postgres loses what it acknowledged)")
	case commit == "local":
		f.advise(Warn, "commits do not wait for the standbys: a failover may lose the last events", "set synchronous_commit to on")
	default:
		f.Fact += ", synchronous: " + names
	}
	if len(idle) > 0 {
		f.advise(Warn, "replication slots that nobody reads keep WAL, and the disk may fill: "+strings.Join(idle, ", "), "start their consumers, or select pg_drop_replication_slot(name)")
	}
	return f, nil
}

// connectionsPerNode is the number of connections of a node with the default MaxConns: the
// pool, one that listens and one that appends.
const connectionsPerNode = 8

func checkConnections(ctx context.Context, t *target) (Finding, error) {
	var most, open, limit, own int
	if err := t.row(ctx, "connections", nil, &most, &open, &limit, &own); err != nil {
		return Finding{}, err
	}
	free := max(most-open, 0)
	f := ok("%d of %d are free; a node uses up to %d (MaxConns and 2)", free, most, connectionsPerNode)
	if limit >= 0 {
		free = min(free, max(limit-own, 0))
		f.Fact += fmt.Sprintf("; the role has %d of its limit of %d", own, limit)
	}
	if free < connectionsPerNode {
		f.advise(Warn, "another node may not find enough", "raise max_connections, or the limit of the role; lower MaxConns of the nodes; or put a pooler in front")
	}
	return f, nil
}

// shortTimeout is the time below which timeouts hurt: nodes read the log each second, and
// large transactions of theirs take about as long.
const shortTimeout = time.Second

func checkTimeouts(ctx context.Context, t *target) (Finding, error) {
	type timeout struct {
		name string
		ms   int64
	}
	set, err := collect(ctx, t, "timeouts", nil, func(r pgx.CollectableRow) (s timeout, err error) {
		return s, r.Scan(&s.name, &s.ms)
	})
	if err != nil {
		return Finding{}, err
	}
	if len(set) == 0 {
		return ok("none is set"), nil
	}
	f := ok("")
	for _, s := range set {
		after := time.Duration(s.ms) * time.Millisecond
		fact := fmt.Sprintf("%s is %v", s.name, after)
		switch {
		case after > shortTimeout:
			f.advise(f.Status, fact)
		case s.name == "idle_session_timeout":
			f.advise(Warn, fact+", shorter than the time between polls: nodes connect again and again", "reset idle_session_timeout for the role")
		default:
			f.advise(Warn, fact+": nodes repeat what it cancels, which may never succeed", "set "+s.name+" for the role to more than "+shortTimeout.String())
		}
	}
	return f, nil
}
