package recovery_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A listener is a node that records expired sessions.
type listener struct {
	mu      sync.Mutex
	expired []string
}

func (l *listener) Checkpoint(adapter.Position) (adapter.Position, []recovery.Progress) {
	return 0, nil
}

func (*listener) Serving() bool { return true }

func (l *listener) Expired(s *recovery.Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = append(l.expired, s.PIDHash)
}

func (l *listener) received() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.expired)
}

// away opens a session and parks it.
func away(store *recovery.Memory, s *recovery.Session) {
	s.Epoch = 1
	store.Open(s)
	store.End(s.Key, recovery.Release{Park: true})
}

func TestMemory_Expiry_ReportsEachSessionOnceInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, node := recovery.NewMemory(adapter.NewMemory(nil)), &listener{}
		if err := store.Bind(node); err != nil {
			t.Fatal(err)
		}
		const n = 2000
		var want []string
		for i := range n {
			pid := fmt.Sprint("pid ", i)
			away(store, &recovery.Session{Key: recovery.Key{PIDHash: pid}, Namespace: "/", Window: time.Minute + time.Duration(i*7919%n)*time.Millisecond})
			if i%5 != 0 {
				continue
			}
			if _, err := store.Resume(t.Context(), recovery.ResumeRequest{PIDHash: pid, Namespace: "/"}); err != nil {
				t.Fatal(err)
			}
		}
		for at := range n {
			for i := range n {
				if i*7919%n == at && i%5 != 0 {
					want = append(want, fmt.Sprint("pid ", i))
				}
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if got := node.received(); len(got) > 0 {
			t.Errorf("%d sessions expired before their windows ended", len(got))
		}
		time.Sleep(n * time.Millisecond)
		if got := node.received(); !slices.Equal(got, want) {
			t.Errorf("%d sessions expired, want %d in the order of their windows", len(got), len(want))
		}
	})
}

func TestMemory_ManySessionsAway_TheOldestExpireFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, node := recovery.NewMemory(adapter.NewMemory(nil)), &listener{}
		store.MaxParkedBytes = 1 << 20
		if err := store.Bind(node); err != nil {
			t.Fatal(err)
		}
		const n = 3000
		for i := range n {
			away(store, &recovery.Session{Key: recovery.Key{PIDHash: fmt.Sprint("pid ", i)}, Namespace: "/", Window: time.Minute})
			time.Sleep(time.Millisecond)
		}
		got := node.received()
		if len(got) < n/3 || len(got) > n-500 {
			t.Errorf("%d of %d sessions expired", len(got), n)
		}
		for i, pid := range got {
			if pid != fmt.Sprint("pid ", i) {
				t.Fatalf("%s expired as number %d", pid, i)
			}
		}
		for _, row := range []struct {
			i    int
			want error
		}{{0, recovery.ErrUnknown}, {len(got) - 1, recovery.ErrUnknown}, {len(got), nil}, {n - 1, nil}} {
			if _, err := store.Resume(t.Context(), recovery.ResumeRequest{PIDHash: fmt.Sprint("pid ", row.i), Namespace: "/"}); recovery.RefusalReason(err) != row.want { //nolint:errorlint // it is the reason itself
				t.Errorf("session %d: %v, want %v", row.i, err, row.want)
			}
		}
	})
}

// Not parallel, as it measures the heap.
func TestMemory_MaxParkedBytes_BoundsTheHeap(t *testing.T) { //nolint:paralleltest // see above
	const limit = 1 << 20
	for name, session := range map[string]func(i int) *recovery.Session{
		"bare":           func(int) *recovery.Session { return &recovery.Session{} },
		"short rooms":    func(i int) *recovery.Session { return &recovery.Session{Rooms: intervals(i, 2000, 3)} },
		"few rooms":      func(i int) *recovery.Session { return &recovery.Session{Rooms: intervals(i, 20, 5)} },
		"long rooms":     func(i int) *recovery.Session { return &recovery.Session{Rooms: intervals(i, 100, 255)} },
		"one short room": func(i int) *recovery.Session { return &recovery.Session{Rooms: intervals(i, 1, 1)} },
		"data": func(i int) *recovery.Session {
			s := &recovery.Session{Data: make(map[string]json.RawMessage)}
			for k := range 500 {
				s.Data[fmt.Sprint(i, k)] = json.RawMessage("1")
			}
			return s
		},
	} {
		store := recovery.NewMemory(adapter.NewMemory(nil))
		store.MaxParkedBytes = limit
		if err := store.Bind(&listener{}); err != nil {
			t.Fatal(err)
		}
		before := heap()
		rooms := 0
		for i := 0; rooms < 2*limit/50; i++ {
			s := session(i)
			s.PIDHash, s.ID, s.Namespace, s.Window = fmt.Sprintf("%020d", i), fmt.Sprintf("%020d", i), "/", time.Hour
			rooms += 10 + len(s.Rooms) + len(s.Data)
			for _, interval := range s.Rooms {
				rooms += len(interval.Room) / 50
			}
			away(store, s)
		}
		grown := heap() - before
		t.Logf("%s: %d KiB", name, grown>>10)
		if grown > limit+limit/4 || grown < limit/4 {
			t.Errorf("%s: the heap has grown by %d KiB, the limit is %d", name, grown>>10, limit>>10)
		}
		runtime.KeepAlive(store)
	}
}

func intervals(session, n, length int) []recovery.RoomInterval {
	var s []recovery.RoomInterval
	for i := range n {
		name := fmt.Sprint(session, i)
		s = append(s, recovery.RoomInterval{Room: strings.Clone(strings.Repeat(name, length)[:length]), Joined: 1})
	}
	return s
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// BenchmarkMemoryExpiry measures how long a server waits for the lock while sessions expire.
func BenchmarkMemoryExpiry(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			store := recovery.NewMemory(adapter.NewMemory(nil))
			if err := store.Bind(&listener{}); err != nil {
				b.Fatal(err)
			}
			for i := range n {
				away(store, &recovery.Session{Key: recovery.Key{PIDHash: fmt.Sprint(i)}, Window: time.Hour})
			}
			for i := 0; b.Loop(); i++ {
				away(store, &recovery.Session{Key: recovery.Key{PIDHash: fmt.Sprint("x", i)}, Window: time.Nanosecond})
			}
		})
	}
}
