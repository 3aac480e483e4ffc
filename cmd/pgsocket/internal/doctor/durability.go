package doctor

import (
	"context"
	"strings"
)

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
