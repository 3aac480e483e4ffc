package pgadapter

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// Not parallel, because it measures the heap.
func TestMemory_TailBytes_BoundsTheHeap(t *testing.T) { //nolint:paralleltest // see above
	const limit = 1 << 20
	names := func(i, n, length int) []string {
		list := make([]string, n)
		for k := range list {
			list[k] = strings.Repeat(fmt.Sprint(i, k), length)[:length]
		}
		return list
	}
	for name, packet := range map[string]func(i int) *adapter.Envelope{
		"bare":  func(int) *adapter.Envelope { return &adapter.Envelope{} },
		"small": func(int) *adapter.Envelope { return &adapter.Envelope{Namespace: "/", Payload: []byte(`["e"]`)} },
		"many short rooms": func(i int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Rooms: names(i, 1000, 3)}}
		},
		"empty names": func(int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Except: make([]string, 1000)}}
		},
		"one room": func(i int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Rooms: names(i, 1, 9)}}
		},
		"long rooms": func(i int) *adapter.Envelope {
			return &adapter.Envelope{Audience: adapter.Audience{Rooms: names(i, 10, 241)}}
		},
		"namespaces":        func(i int) *adapter.Envelope { return &adapter.Envelope{Namespace: names(i, 1, 1000)[0]} },
		"empty attachments": func(int) *adapter.Envelope { return &adapter.Envelope{Attachments: make([][]byte, 50)} },
	} {
		for _, packets := range []int{1, 100} {
			m := &recentBatches{maxBytes: limit, maxAge: time.Hour}
			before := heap()
			added := 0
			for i := 0; added < 2*limit; i++ {
				es := make([]*adapter.Envelope, packets)
				for k := range es {
					es[k] = packet(i*packets + k)
				}
				frame := encode(es...)
				added += len(frame) + 100*packets
				b, err := decodeBatch(frameVersion, 1, batchPos{id: int64(i + 1), packets: packets}, frame)
				if err != nil {
					t.Fatal(err)
				}
				m.add(b)
			}
			grown := heap() - before
			t.Logf("%s, %d a batch: %d KiB", name, packets, grown>>10)
			if grown > limit+limit/8 || packets == 1 && grown < limit/4 {
				t.Errorf("%s, %d a batch: the heap has grown by %d KiB, the limit is %d", name, packets, grown>>10, limit>>10)
			}
			runtime.KeepAlive(m)
		}
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
