package pgserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Suspend suspends every process of the server, like an overloaded or paused machine: connections stay open, and the
// server does not respond until [Server.Resume].
func (s *Server) Suspend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errors.New("suspend: the server is down")
	}
	// The postmaster is first, so that no process is started. Then its children, until there is no new one.
	postmaster := s.proc.cmd.Process.Pid
	if err := s.freezeLocked(postmaster); err != nil {
		return err
	}
	for {
		pids, err := children(postmaster)
		if err != nil {
			return fmt.Errorf("suspend: %w", err)
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(s.frozen, pid) })
		if len(pids) == 0 {
			return nil
		}
		if err := s.freezeLocked(pids...); err != nil {
			return err
		}
	}
}

// freezeLocked records the processes in a file for the guard before it suspends them: a suspended process would not
// react to the guard's signal.
func (s *Server) freezeLocked(pids ...int) error {
	s.frozen = append(s.frozen, pids...)
	var list strings.Builder
	for _, pid := range s.frozen {
		list.WriteString(strconv.Itoa(pid) + "\n")
	}
	if err := os.WriteFile(s.suspended(), []byte(list.String()), 0o600); err != nil {
		return err
	}
	for _, pid := range pids {
		if err := pause(pid); err != nil {
			return fmt.Errorf("suspend process %d: %w", pid, err)
		}
	}
	return nil
}

// Resume continues a suspended server. It does nothing if the server is running.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resumeLocked()
}

func (s *Server) resumeLocked() error {
	if len(s.frozen) == 0 {
		return nil
	}
	for _, pid := range s.frozen {
		if err := unpause(pid); err != nil {
			return fmt.Errorf("resume process %d: %w", pid, err)
		}
	}
	s.frozen = nil
	return os.Remove(s.suspended())
}

func (s *Server) suspended() string { return filepath.Join(s.dir, "suspended") }
