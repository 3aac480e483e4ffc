package adaptertest_test

import (
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

func TestMemory_Conformance(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, func(t *testing.T) adaptertest.Log {
		t.Helper()
		const most = 4 << 20
		m := adapter.NewMemory(&adapter.MemoryOptions{Retention: time.Hour, MaxBytes: most})
		return adaptertest.Log{
			Nodes: 1,
			Node:  func(*testing.T) adapter.Adapter { return m },
			Trim: func(t *testing.T) {
				t.Helper()
				_, err := m.Publish(t.Context(), &adapter.Envelope{Namespace: "/trim", Payload: make([]byte, most)})
				if err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
