package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio/pgtest"
)

// Main runs the tests of a package that starts clusters, with a private Postgres unless DATABASE_URL names one. Of the
// packages of one go test command, it runs one at a time: the tests wait for nodes and clients with deadlines, and two
// clusters at once overload a small machine. The time that go test prints includes the wait. With -v, and when a test fails, the
// output contains it.
func Main(m *testing.M) int {
	began := time.Now()
	if err := lockTurn(syscall.F_SETLKW); err != nil {
		fmt.Fprintln(os.Stderr, "wait for the tests of other packages:", err)
		return 1
	}
	if waited := time.Since(began).Round(time.Second); waited > 0 {
		fmt.Fprintf(os.Stderr, "waited %v for the tests of other packages\n", waited)
	}
	code := pgtest.Main(m)
	for _, p := range []*program{&standardProgram, &steppedClockProgram} {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir) // a temporary directory: a failure leaves it to the system
		}
	}
	return code
}

// lockTurn takes a lock that the system releases when this process ends: with F_SETLKW it waits, with F_SETLK it fails if
// another process has it. All go test commands use one file, and lock the byte at the number of their process, the parent
// of this one.
func lockTurn(cmd int) error {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("socketio-integration-%d.lock", os.Getuid()))
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600) // stays open: a close releases the lock
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: int64(os.Getppid()), Len: 1}
	for {
		if err := syscall.FcntlFlock(uintptr(fd), cmd, &lock); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
