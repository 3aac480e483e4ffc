package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const turnVariable = "SOCKETIO_TEST_TURN"

func TestMain(m *testing.M) {
	if os.Getenv(turnVariable) == "" {
		os.Exit(m.Run())
	}
	switch err := lockTurn(syscall.F_SETLK); {
	case err == nil:
		fmt.Println("locked")
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES):
		fmt.Println("busy")
	default:
		fmt.Println(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until its end
}

// TestLockTurn_OneProcessAtATime: of two processes with the same parent, the second gets the lock after the first has ended.
func TestLockTurn_OneProcessAtATime(t *testing.T) {
	t.Parallel()
	first, endFirst := startTurn(t)
	second, _ := startTurn(t)
	endFirst()
	third, _ := startTurn(t)
	if first != "locked" || second != "busy" || third != "locked" {
		t.Errorf("the processes report %q, %q, and after the first has ended %q", first, second, third)
	}
}

// startTurn starts a process that tries to take the lock and then waits, and returns what it reports.
func startTurn(t *testing.T) (report string, end func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), turnVariable+"=1")
	in, out := StartPiped(t, cmd)
	end = func() {
		_ = in.Close()
		_ = cmd.Wait() // an error after the first call
	}
	t.Cleanup(end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), end
}
