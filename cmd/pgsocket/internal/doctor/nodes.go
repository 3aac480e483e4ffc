package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/pgadapter"
)

// checkNode opens a node: the checks of pgadapter decide.
func checkNode(ctx context.Context, t *target) (Finding, error) {
	db, err := pgadapter.Open(ctx, t.o.DSN, &pgadapter.Options{
		Schema: t.o.Schema, NodeName: "pgsocket doctor", ListenDSN: t.o.ListenDSN, PollOnly: t.o.PollOnly,
		Retention: time.Minute, TailBytes: 1 << 20, ConnectTimeout: -1, Logger: t.o.Logger,
	})
	if err == nil {
		err = db.Close(ctx)
	}
	f := ok("a node joined the cluster and left it")
	if err != nil { // also missing privileges, which other checks skip
		f.Status, f.Fact = Fail, err.Error()
	}
	return f, nil
}

// A node is a row of nodes.sql.
type node struct {
	name, version          string
	seen, lease, retention micro
}

func checkNodes(ctx context.Context, t *target) (Finding, error) {
	nodes, err := collect(ctx, t, "nodes", nil, func(r pgx.CollectableRow) (n node, err error) {
		return n, r.Scan(&n.name, &n.version, &n.seen, &n.lease, &n.retention)
	})
	if err != nil {
		return Finding{}, err
	}
	t.nodes = nodes
	if len(nodes) == 0 {
		return skipped("no node with a server runs; run this again while nodes run"), nil
	}
	f := ok("%d with a server", len(nodes))
	var versions, silent []string
	for _, n := range nodes {
		if n.version != "" && !slices.Contains(versions, n.version) {
			versions = append(versions, n.version)
		}
		if n.seen > n.lease {
			silent = append(silent, fmt.Sprintf("%s for %v", n.name, n.seen.duration().Round(time.Second)))
		}
	}
	if len(versions) > 0 {
		f.Fact += ", of version " + strings.Join(versions, " and ")
	}
	if len(silent) > 0 {
		f.advise(Warn, "silent for longer than their lease: "+strings.Join(silent, ", "),
			"see whether their processes run and reach Postgres; another node takes over the sessions of a dead one, so at least one must run")
	}
	return f, nil
}

// retention returns the longest retention of the nodes, which applies to all.
func (t *target) retention() time.Duration {
	var longest micro
	for _, n := range t.nodes {
		longest = max(longest, n.retention)
	}
	return longest.duration()
}
