package pgadapter

import (
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/recovery/recoverytest"
)

func TestLog_Conformance(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"listening": {},
		"polling":   {PollOnly: true, PollInterval: 5 * time.Millisecond},
		"forgetful": {TailBytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adaptertest.Run(t, func(t *testing.T) adaptertest.Log { return newLog(t, opts) })
		})
	}
}

func newLog(t *testing.T, opts Options) adaptertest.Log {
	t.Helper()
	b := newBench(t)
	opts.QueueEvents, opts.Lease = 3000, processLease
	opts.MaxEnvelope = 2 << 20
	log := adaptertest.Log{
		Nodes: 8,
		Node:  func(t *testing.T) adapter.Adapter { return b.open(t, &opts) },
		Stall: b.stall,
		Close: func(t *testing.T, a adapter.Adapter) {
			if err := a.(*DB).Close(t.Context()); err != nil {
				t.Error(err)
			}
		},
		Kill:        func(_ *testing.T, a adapter.Adapter) { a.(*DB).crash() },
		MaxEnvelope: opts.MaxEnvelope,
	}
	if opts.TailBytes == 1 {
		log.Trim = b.trim
	}
	return log
}

// stall holds the append lock.
func (b *bench) stall(t *testing.T) func() {
	t.Helper()
	b.exec(t, "begin")
	b.exec(t, "lock table append_lock in share update exclusive mode")
	return func() { b.exec(t, "commit") }
}

// trim makes the log drop everything, as three rotations do.
func (b *bench) trim(t *testing.T) {
	t.Helper()
	b.exec(t, "begin; update meta set low = coalesce((select max(id * 4096 + packets - 1) from log), low); truncate log; commit")
}

func TestSessions_Conformance(t *testing.T) {
	t.Parallel()
	recoverytest.Run(t, func(t *testing.T) recoverytest.Cluster {
		t.Helper()
		b := newBench(t)
		return recoverytest.Cluster{
			Nodes: 4,
			Node: func(t *testing.T) (adapter.Adapter, recovery.Store) {
				t.Helper()
				db := b.open(t, &Options{Lease: processLease})
				return db, db.Sessions()
			},
			Trim: b.trim,
		}
	})
}
