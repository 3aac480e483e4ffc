package adapter_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// Not parallel, as it measures the heap.
func TestMemory_MaxBytes_BoundsTheHeap(t *testing.T) { //nolint:paralleltest // see above
	const limit = 1 << 20
	names := func(i, n, length int) []string {
		list := make([]string, n)
		for k := range list {
			list[k] = strings.Clone(strings.Repeat(fmt.Sprint(i, k), length)[:length])
		}
		return list
	}
	for name, envelope := range map[string]func(i int) *adapter.Envelope{
		"bare":  func(int) *adapter.Envelope { return &adapter.Envelope{} },
		"small": func(int) *adapter.Envelope { return &adapter.Envelope{Payload: []byte(`["e"]`)} },
		"many short rooms": func(i int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Rooms: names(i, 1000, 3)}}
		},
		"rooms of a byte": func(i int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Except: names(i, 1000, 1)}}
		},
		"long rooms": func(i int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Rooms: names(i, 100, 241)}}
		},
		"one room": func(i int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Rooms: names(i, 1, 9)}}
		},
		"empty attachments": func(int) *adapter.Envelope { return &adapter.Envelope{Attachments: make([][]byte, 10)} },
		"odd payload":       func(int) *adapter.Envelope { return &adapter.Envelope{Payload: make([]byte, 33_000)} },
		"slack":             func(int) *adapter.Envelope { return &adapter.Envelope{Payload: make([]byte, 10, 4000)} },
		"small attachments": func(int) *adapter.Envelope {
			return &adapter.Envelope{Attachments: [][]byte{make([]byte, 1), make([]byte, 1), make([]byte, 1)}}
		},
	} {
		log := adapter.NewMemory(&adapter.MemoryOptions{MaxBytes: limit})
		before := heap()
		published := 0
		for i := 0; published < 2*limit; i++ {
			e := envelope(i)
			published += 200 + e.Size()
			if _, err := log.Publish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		grown := heap() - before
		t.Logf("%s: %d KiB", name, grown>>10)
		if grown > limit+limit/8 || grown < limit/4 {
			t.Errorf("%s: the heap has grown by %d KiB, the limit is %d", name, grown>>10, limit>>10)
		}
		runtime.KeepAlive(log)
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
