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

// Suspend stops every process of the server where it stands, as an overloaded or paused machine would:
// connections stay open, and nothing answers until [Server.Resume].
func (s *Server) Suspend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errors.New("suspend: the server is down")
	}
	// The postmaster first: from then on no process is born. Then its children, until no new one shows.
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

// freezeLocked writes the processes down for the guard before it stops them: a stopped process would not hear the guard.
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

// Resume lets a suspended server go on. Resuming a running server does nothing.
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
