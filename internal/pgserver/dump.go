package pgserver

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// Dump returns a dump of a schema in the custom format of pg_dump, which must be installed with the server.
func (s *Server) Dump(ctx context.Context, schema string) ([]byte, error) {
	cmd := s.command(ctx, "pg_dump", "--format=custom", "--schema="+schema, "--dbname="+s.DSN())
	var said strings.Builder
	cmd.Stderr = &said
	dump, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("pg_dump: %w: %s", err, said.String())
	}
	return dump, nil
}

// Restore restores a dump in one transaction.
func (s *Server) Restore(ctx context.Context, dump []byte) error {
	cmd := s.command(ctx, "pg_restore", "--single-transaction", "--exit-on-error", "--dbname="+s.DSN())
	cmd.Stdin = bytes.NewReader(dump)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_restore: %w: %s", err, out)
	}
	return nil
}
