package pgadapter

import (
	"fmt"
	"testing"
)

func TestKeyedQueue_Batches(t *testing.T) {
	t.Parallel()
	l := newKeyedQueue(func(first, next int) bool { return first/10 == next/10 })
	for _, n := range []int{11, 12, 21, 13} {
		l.add("a", n)
	}
	l.add("b", 31)
	check := func(want string) (pids []string) {
		t.Helper()
		pids, work := l.take(10)
		if got := fmt.Sprint(pids, work); got != want {
			t.Errorf("took %s, want %s", got, want)
		}
		return pids
	}
	pids := check("[a b] [[11 12] [31]]")
	l.add("a", 14) // is not merged into taken work
	l.add("c", 41)
	done := check("[c] [[41]]")
	l.done(done)
	l.done(pids)
	l.done(check("[a] [[21]]"))
	l.done(check("[a] [[13 14]]"))
	for i := range 1000 {
		l.add("many", 50+i%10)
	}
	if _, work := l.take(1); len(work[0]) != maxBatch {
		t.Errorf("took %d at once", len(work[0]))
	}
}
