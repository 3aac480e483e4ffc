package transport

import "testing"

// TestWriterPool_NeverIdle_MemoryBounded checks that a pool whose queue never becomes empty uses memory for waiting tasks
// only.
func TestWriterPool_NeverIdle_MemoryBounded(t *testing.T) {
	t.Parallel()
	const waiting, rounds = 1000, 1_000_000
	c := writerPool{workers: 1 << 20} // so many that none is started
	sessions := make([]Session, waiting)
	for i := range sessions {
		c.add(task{session: &sessions[i]})
	}
	for i := range rounds {
		got, more := c.next()
		if want := &sessions[i%waiting]; !more || got.session != want {
			t.Fatalf("round %d: not the oldest task", i)
		}
		c.add(got)
	}
	if n := cap(c.ready); n > 16*waiting {
		t.Errorf("capacity for %d tasks, %d are waiting", n, waiting)
	}
	for range waiting {
		if _, more := c.next(); !more {
			t.Fatal("a task was lost")
		}
	}
	if _, more := c.next(); more {
		t.Error("next returned more tasks than were added")
	}
}
