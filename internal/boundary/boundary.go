// Package boundary runs user code: functions, methods of values, and log handlers
// that the application gives to the server. What it runs can neither end the
// goroutine of the caller nor the process.
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

// Error implements error. The text contains the stack: it is for a log, not for a
// peer.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %s\n%s", e.Value, e.Stack) }

// Failed reports whether err says that user code panicked or ended its goroutine,
// and is not an error that it returned.
func Failed(err error) bool {
	_, panicked := err.(*PanicError)    //nolint:errorlint // of the methods of another error nothing may be called
	return panicked || err == ErrGoexit //nolint:errorlint // as above
}

// Run runs f, which calls user code, and returns when f has ended. The error is
// that of f, a *PanicError after a panic, or ErrGoexit after runtime.Goexit. F runs
// in a goroutine of its own, because nothing else ends a Goexit. The caller holds no
// lock.
func Run(f func() error) error {
	result := make(chan error, 1)
	go func() { // owner: the caller, which waits for it; ends with f
		Then(f, func(err error, _ bool) { result <- err })
	}()
	return <-result
}

// Do is Run for a function without an error.
func Do(f func()) error {
	return Run(func() error {
		f()
		return nil
	})
}

// Then is Run in the goroutine of the caller, for code that is called often. What
// follows the call belongs into then, which gets the error of f. If f has ended the
// goroutine, ended is true, and the goroutine is over when then returns: only
// deferred functions of the caller run after that.
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

// All runs user code for each of the values, in order. It calls failed with the
// error of each for which the code panicked or ended its goroutine.
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
