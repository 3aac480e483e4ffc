package pgserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Standby copies the running server and starts the copy as a hot standby with asynchronous replication. It has the same
// settings, the same password and another port, and is stopped like any server.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	opts := s.opts
	opts.Dir, opts.Port = "", 0
	standby := &Server{opts: opts, primary: s}
	if err := standby.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a standby: %w", err), standby.Stop())
	}
	return standby, nil
}

// copyCluster copies the data of the primary, with the settings of a standby.
func (s *Server) copyCluster(ctx context.Context) error {
	s.password = s.primary.password
	cmd := s.command(ctx, "pg_basebackup", "-d", s.primary.DSN(), "-D", s.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
