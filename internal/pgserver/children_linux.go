package pgserver

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// children lists the processes whose parent is pid. Each Postgres process is a session of its own, so that
// signalling the postmaster's process group would miss them.
func children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has gone
		}
		// pid (name) state parent …, where the name may hold anything, parentheses too.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) < 2 || string(fields[1]) != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, child)
		}
	}
	return pids, nil
}
