package boundary_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/internal/boundary"
)

// A rude value calls runtime.Goexit when it is printed.
type rude struct{}

func (rude) String() string { runtime.Goexit(); return "" }

func TestRun_Outcomes(t *testing.T) {
	t.Parallel()
	own := errors.New("own")
	for name, c := range map[string]struct {
		f      func() error
		want   string
		failed bool
	}{
		"nil":        {func() error { return nil }, "<nil>", false},
		"error":      {func() error { return own }, "own", false},
		"panic":      {func() error { panic("boom") }, "panic: boom", true},
		"nil panic":  {func() error { panic(any(nil)) }, "panic: panic called with nil argument", true},
		"goexit":     {func() error { runtime.Goexit(); return nil }, "user code ended its goroutine", true},
		"rude panic": {func() error { panic(rude{}) }, "user code ended its goroutine", true},
	} {
		err := boundary.Run(c.f)
		if got := fmt.Sprint(err); !strings.HasPrefix(got, c.want) || boundary.Failed(err) != c.failed {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestThen_GoroutineEnds_ThenIsCalled(t *testing.T) {
	t.Parallel()
	over := make(chan string, 3)
	go func() {
		defer func() { over <- "deferred" }()
		boundary.Then(func() error { return nil }, func(err error, ended bool) { over <- fmt.Sprint(err, ended) })
		boundary.Then(func() error { runtime.Goexit(); return nil }, func(err error, ended bool) {
			over <- fmt.Sprint(errors.Is(err, boundary.ErrGoexit), ended)
		})
		t.Error("the goroutine did not end")
	}()
	if got := fmt.Sprint(<-over, ", ", <-over, ", ", <-over); got != "<nil> false, true true, deferred" {
		t.Error(got)
	}
}

func TestAll_OneFails_OthersAreCalled(t *testing.T) {
	t.Parallel()
	var done, failed []int
	boundary.All([]int{0, 1, 2, 3, 4}, func(i int) {
		switch i {
		case 1:
			panic(i)
		case 3, 4:
			runtime.Goexit()
		}
		done = append(done, i)
	}, func(i int, err error) {
		if !boundary.Failed(err) {
			t.Error(err)
		}
		failed = append(failed, i)
	})
	if got := fmt.Sprint(done, failed); got != "[0 2] [1 3 4]" {
		t.Error(got)
	}
}

func BenchmarkRun(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = boundary.Run(func() error { return nil })
	}
}

func BenchmarkThen(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		boundary.Then(func() error { return nil }, func(error, bool) {})
	}
}
