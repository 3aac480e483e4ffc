package pgadapter

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRelay_Idle_BacksOff(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		since time.Duration
		found int
		err   error
		other bool
		wait  time.Duration
		looks bool
	}{
		"events found":                 {found: 3, wait: 5 * ms, looks: true},
		"nothing found":                {since: 100 * ms, wait: 25 * ms, looks: true},
		"nothing for 2 s":              {since: 2 * time.Second, wait: 100 * ms, looks: true},
		"nothing for a minute":         {since: time.Minute},
		"nothing, not the leader":      {since: 100 * ms, other: true},
		"events found, not the leader": {found: 1, other: true, wait: 5 * ms, looks: true},
		"append in progress":           {found: relayBusy, other: true, wait: 25 * ms, looks: true},
		"an error":                     {err: errors.New("x"), other: true, wait: time.Second, looks: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newRelay(base{opts: &Options{RelayInterval: 25 * ms}}, func() bool { return !c.other }, nil)
				a.noteRelayed(time.Now().Add(-c.since))
				wait, looks := a.next(c.found, c.err)
				if looks != c.looks || looks && wait != c.wait {
					t.Errorf("looks again: %v, after %v; want %v, after %v", looks, wait, c.looks, c.wait)
				}
			})
		})
	}
}

// TestRelay_IdleCluster_FewStatements counts the transactions of an otherwise idle Postgres.
// Each statement of an idle node is a transaction.
func TestRelay_IdleCluster_FewStatements(t *testing.T) {
	t.Parallel()
	const nodes, perSecond = 3, 2
	b := newBenchWith(t, map[string]string{"autovacuum": "off"}) // its transactions would be counted
	dbs, recorders := b.nodes(t, nodes, nil)
	execOn(t, b.conn, "select emit_all('x')")
	for _, r := range recorders {
		r.Expect(t, 1)
	}
	count := func() int64 {
		return b.int(t, "select sum(xact_commit + xact_rollback) from pg_stat_database where datname = current_database()")
	}
	// On a slow machine the nodes may still record the relay, and Postgres may count late: so the test measures three times.
	for look := 1; ; look++ {
		for _, db := range dbs {
			db.relay.noteRelayed(time.Now().Add(-time.Minute))
		}
		time.Sleep(2 * time.Second) // Postgres counts within a second
		began, before := time.Now(), count()

		time.Sleep(6 * time.Second)

		n, took := count()-before, time.Since(began)
		t.Logf("%d transactions in %.1f s: %.2f/s for each node", n, took.Seconds(), float64(n)/took.Seconds()/nodes)
		most := nodes * perSecond * took.Seconds()
		if float64(n) <= most {
			break
		}
		t.Logf("the last statement of each connection:\n%s", strings.Join(b.rows(t, "select backend_start::text || ' ' || query_start::text || ' ' || query from pg_stat_activity where backend_type = 'client backend' order by query_start"), "\n"))
		if look == 3 {
			t.Errorf("%d transactions in %v; at most %.0f", n, took, most)
			break
		}
	}

	emitted := time.Now()
	execOn(t, b.conn, "select emit_all('y')")
	for _, r := range recorders {
		r.Expect(t, 2)
	}
	t.Logf("the first emit after that arrived after %v", time.Since(emitted))
}

// Any role can send notifications for the relay. A flood of them leaves the append lock free for others, and a
// notification after a pause is answered at once.
func TestRelay_FloodOfNotifications(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{RelayInterval: time.Hour, PollInterval: time.Hour, Retention: 24 * time.Hour, Lease: time.Hour})
	a := newRelay(db.base, db.node.isRelayLeader.Load, db.tail.wakeIfPolling)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a pause returns at once, and false
	a.lastRun, a.emptyRuns = time.Now(), maxEmptyRuns+1
	if a.awaitTurn(ctx) {
		t.Error("no pause before another check that finds nothing")
	}
	a.lastRun = time.Now().Add(-2 * time.Hour)
	if !a.awaitTurn(ctx) {
		t.Error("a notification after a pause is not answered at once")
	}
}
