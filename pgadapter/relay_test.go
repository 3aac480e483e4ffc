package pgadapter

import (
	"context"
	"errors"
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
		"something came":                        {found: 3, wait: 5 * ms, looks: true},
		"nothing more":                          {since: 100 * ms, wait: 25 * ms, looks: true},
		"nothing for 2 s":                       {since: 2 * time.Second, wait: 100 * ms, looks: true},
		"nothing for a minute":                  {since: time.Minute},
		"nothing, not the first":                {since: 100 * ms, other: true},
		"not the first, but it found something": {found: 1, other: true, wait: 5 * ms, looks: true},
		"somebody appends":                      {found: relayBusy, other: true, wait: 25 * ms, looks: true},
		"an error":                              {err: errors.New("x"), other: true, wait: time.Second, looks: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db := &DB{opts: Options{RelayInterval: 25 * ms}, node: &node{}}
				db.node.isRelayLeader.Store(!c.other)
				a := newRelay(db)
				a.noteRelayed(time.Now().Add(-c.since))
				wait, looks := a.next(c.found, c.err)
				if looks != c.looks || looks && wait != c.wait {
					t.Errorf("looks again: %v, after %v; want %v, after %v", looks, wait, c.looks, c.wait)
				}
			})
		})
	}
}

// TestRelay_IdleCluster_FewStatements counts the transactions of a Postgres that has nothing
// else to do. All statements of an idle node are transactions of their own.
func TestRelay_IdleCluster_FewStatements(t *testing.T) {
	t.Parallel()
	const nodes, perSecond = 3, 2
	b := newBenchWith(t, map[string]string{"autovacuum": "off"}) // which has transactions of its own
	dbs, recorders := b.nodes(t, nodes, nil)
	execOn(t, b.conn, "select emit_all('x')")
	for _, r := range recorders {
		r.Expect(t, 1)
	}
	count := func() int64 {
		return b.int(t, "select sum(xact_commit + xact_rollback) from pg_stat_database where datname = current_database()")
	}
	// On a slow machine they may yet note when that was, and Postgres may count late: so the test looks three times.
	for look := 1; ; look++ {
		for _, db := range dbs {
			db.relay.noteRelayed(time.Now().Add(-time.Minute))
		}
		time.Sleep(2 * time.Second) // what has been is counted within a second
		began, before := time.Now(), count()

		time.Sleep(6 * time.Second)

		n, took := count()-before, time.Since(began)
		t.Logf("%d transactions in %.1f s: %.2f/s for each node", n, took.Seconds(), float64(n)/took.Seconds()/nodes)
		most := nodes * perSecond * took.Seconds()
		if float64(n) <= most {
			break
		}
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

// Any role can ring for the adoption. A flood of that leaves the append lock to others, and a bell after a silence is
// followed at once.
func TestAdopter_FloodOfBells(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{RelayInterval: time.Hour, PollInterval: time.Hour, Retention: 24 * time.Hour, Lease: time.Hour})
	a := newRelay(db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a pause is given up at once, and says so
	a.lastRun, a.emptyRuns = time.Now(), maxEmptyRuns+1
	if a.awaitTurn(ctx) {
		t.Error("one more look in vain follows without a pause")
	}
	a.lastRun = time.Now().Add(-2 * time.Hour)
	if !a.awaitTurn(ctx) {
		t.Error("a bell after a silence is not followed at once")
	}
}
