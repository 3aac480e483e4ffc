//go:build !linux

package pgserver

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
)

// children lists the processes whose parent is pid. Each Postgres process is in its own session, so that a signal to
// the postmaster's process group would not reach them.
func children(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output() //nolint:noctx // ps does not wait
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var pids []int
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var child, parent int
		if _, err := fmt.Sscan(lines.Text(), &child, &parent); err == nil && parent == pid {
			pids = append(pids, child)
		}
	}
	return pids, nil
}
