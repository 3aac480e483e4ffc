package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

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
