package transport

import "testing"

// TestCrew_NeverIdle_KeepsNoTasksThatAreDone: under a load that leaves it always something to do, the crew needs memory
// for the tasks that wait, and not for all that there were.
func TestCrew_NeverIdle_KeepsNoTasksThatAreDone(t *testing.T) {
	t.Parallel()
	const waiting, rounds = 1000, 1_000_000
	c := writerPool{workers: 1 << 20} // so many that none is taken on
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
		t.Errorf("room for %d tasks, while %d wait", n, waiting)
	}
	for range waiting {
		if _, more := c.next(); !more {
			t.Fatal("a task was lost")
		}
	}
	if _, more := c.next(); more {
		t.Error("a task too many")
	}
}
