package recoverytest_test

import (
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/recovery/recoverytest"
)

func TestMemory_Conformance(t *testing.T) {
	t.Parallel()
	recoverytest.Run(t, func(t *testing.T) recoverytest.Cluster {
		t.Helper()
		const most = 1 << 20
		log := adapter.NewMemory(&adapter.MemoryOptions{Retention: time.Hour, MaxBytes: most})
		store := recovery.NewMemory(log)
		return recoverytest.Cluster{
			Nodes: 1,
			Node:  func(*testing.T) (adapter.Adapter, recovery.Store) { return log, store },
			Trim: func(t *testing.T) {
				t.Helper()
				_, err := log.Publish(t.Context(), &adapter.Envelope{Namespace: "/trim", Payload: make([]byte, most)})
				if err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
