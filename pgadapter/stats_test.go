package pgadapter

import (
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

func TestHealth_Outage(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{"listening": {}, "polling": {PollOnly: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, w := newBench(t).through(t)
			opts.Lease, opts.Heartbeat = 4*time.Second, 200*time.Millisecond
			db := b.open(t, &opts)
			well := func() bool { return db.Health() == nil }
			eventually(t, "the node is well", well)
			w.sever(true)
			began := time.Now()
			eventually(t, "the outage shows", func() bool {
				err := db.Health()
				return err != nil && strings.Contains(err.Error(), "no heartbeat")
			})
			// The promise is two heartbeats. A slow machine may take longer, but not the lease, which is twenty.
			if took := time.Since(began); took > db.opts.Lease*3/4 {
				t.Errorf("Health returned an error after %v", took)
			}
			time.Sleep(db.opts.Lease) // so that other nodes may declare it dead
			w.sever(false)
			eventually(t, "the node is well again", well)
		})
	}
}

func TestStats_AppendsAndQueues(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	r, _ := adaptertest.Bound(t, db)
	resume := b.stall(t)
	for range 10 {
		adaptertest.Publish(t, db, adaptertest.Event("x"))
	}
	if s := db.Stats(); s.QueueEvents != 10 || s.QueueBytes == 0 {
		t.Errorf("in the queue: %+v", s)
	}
	resume()
	r.Expect(t, 10)
	if err := db.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := db.Stats()
	if s.QueueEvents != 0 || s.Batches.Sum != 10 || s.Appends.Count != s.Batches.Count || s.Appends.Sum <= 0 {
		t.Errorf("appended: %+v", s)
	}
	if s.Position != r.Deliveries()[9].Offset.Position || !s.Listening || s.Notified.IsZero() || s.Confirmed.IsZero() {
		t.Errorf("read: %+v", s)
	}
}

func TestClusterStats_Counts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 2, nil)
	for _, pid := range []string{"live", "parked", "over"} {
		mustOpen(t, dbs[0], session(pid))
	}
	for _, pid := range []string{"parked", "over"} {
		if err := dbs[0].Sessions().End(session(pid).Key, recovery.Release{Park: true}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(t, "update sessions set expires_at = now() where pid_hash = 'over'")
	at := adaptertest.Append(t, dbs[1], adaptertest.Event("x"))
	s, err := dbs[0].ClusterStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Nodes != 2 || s.Live != 1 || s.Parked != 1 || s.Expired != 1 || s.High != at.Position || s.Batches != 1 || s.Bytes == 0 || s.Outbox != 0 {
		t.Errorf("%+v", s)
	}
}
