// Package boundary calls user code: functions, methods and log handlers of the
// application. A panic or runtime.Goexit in user code ends neither the caller's
// goroutine nor the process.
package boundary

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrGoexit is the error of user code that ended its goroutine, with
// runtime.Goexit or a method that calls it, such as testing.T.FailNow.
var ErrGoexit = errors.New("user code ended its goroutine (runtime.Goexit)")

// A PanicError is the error of user code that panicked.
type PanicError struct {
	Value string // as fmt prints it
	Stack []byte // of the goroutine that panicked
}

// Error implements error. The text contains the stack, so that it is for logs only,
// not for peers.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %s\n%s", e.Value, e.Stack) }

// Failed reports whether err means that user code panicked or ended its goroutine,
// as opposed to an error that it returned.
func Failed(err error) bool {
	_, panicked := err.(*PanicError)    //nolint:errorlint // methods of another error must not be called
	return panicked || err == ErrGoexit //nolint:errorlint // as above
}

// Run runs f, which calls user code, and returns when f has ended. The error is
// that of f, a *PanicError after a panic, or ErrGoexit after runtime.Goexit. F runs
// in a new goroutine, because a Goexit cannot be recovered. The caller must not hold
// a lock.
func Run(f func() error) error {
	result := make(chan error, 1)
	go func() { // owner: the caller, which waits for it; ends with f
		Then(f, func(err error, _ bool) { result <- err })
	}()
	return <-result
}

// Do is like Run, for a function without an error.
func Do(f func()) error {
	return Run(func() error {
		f()
		return nil
	})
}

// Then is like Run, but runs f in the goroutine of the caller, for code that is called
// often. It passes the error of f to then, which does everything that follows the call.
// If f called runtime.Goexit, ended is true, and the goroutine ends when then returns:
// only deferred functions of the caller run after that.
func Then(f func() error, then func(err error, ended bool)) {
	err, ended := ErrGoexit, true
	defer func() { then(err, ended) }() // also if printing the value of a panic ends the goroutine
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: fmt.Sprint(value), Stack: debug.Stack()}
			ended = false
		}
	}()
	err = f()
	ended = false
}

// All calls f, which is user code, for each of the values, in order. It calls failed for
// each value for which f panicked or ended its goroutine.
func All[T any](values []T, f func(T), failed func(T, error)) {
	for next := 0; next < len(values); {
		if err := Do(func() {
			for next < len(values) {
				next++
				f(values[next-1])
			}
		}); err != nil {
			failed(values[next-1], err)
		}
	}
}
