//go:build !linux

package pgserver

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
)

// children lists the processes whose parent is pid. Each Postgres process is a session of its own, so that
// signalling the postmaster's process group would miss them.
func children(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output() //nolint:noctx // ps does not wait for anything
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
