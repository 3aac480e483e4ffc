// Package pgserver runs a private Postgres server from the binaries installed on this machine,
// for tests, benchmarks and demos.
//
//	srv, err := pgserver.Start(ctx, pgserver.Options{Fast: true})
//	defer srv.Stop()
//	conn, err := pgx.Connect(ctx, srv.DSN())
//
// Promises:
//
//   - The server listens on 127.0.0.1 only, and requires a random password.
//   - It never outlives the process that started it, even if that is killed: a small shell, the guard, waits for the
//     end of the process, then stops the server and removes its temporary directory.
//   - Started by root, it runs as an unprivileged user, because Postgres refuses root.
//   - It supports fault injection: [Server.Restart], [Server.Shut] and [Server.Boot], [Server.Suspend] and [Server.Resume].
//   - It can have a standby: [Server.Standby].
//
// The methods of a Server may be called from any goroutine.
package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options configures a server. The zero Options means a durable server in a temporary directory, on a free port.
type Options struct {
	Dir      string            // the directory of the cluster, which is kept; an existing cluster is used. Default: a temporary directory
	Bin      string            // the directory of initdb and postgres. Default: that of [Find]
	Port     int               // the TCP port on 127.0.0.1. Default: a free one
	Settings map[string]string // server settings, which override those of this package. Default: none
	Env      []string          // added to the environment of the server. Default: none
	Fast     bool              // a power cut may lose data: fsync is off. Default: false
}

// Mode is a way to shut a server down.
type Mode string

// The modes of [Server.Shut] and [Server.Restart].
const (
	Fast      Mode = "fast"      // clients are disconnected, open transactions rolled back, data written
	Immediate Mode = "immediate" // as in a crash: the next start recovers from the log
)

func (m Mode) signal() syscall.Signal {
	if m == Immediate {
		return syscall.SIGQUIT
	}
	return syscall.SIGINT
}

// Server is a running Postgres server.
type Server struct {
	opts      Options
	dir       string
	temporary bool
	account   account
	password  string
	guard     *guard
	primary   *Server // nil unless this is a standby

	mu     sync.Mutex
	proc   *process // nil while the server is down
	frozen []int    // processes stopped by Suspend
}

// Start creates a cluster, unless opts.Dir contains one, and starts a server on it. The context bounds the start only.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Bin == "" {
		bin, err := Find()
		if err != nil {
			return nil, err
		}
		opts.Bin = bin
	}
	s := &Server{opts: opts}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start private Postgres: %w", err), s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	var err error
	if s.account, err = unprivileged(); err != nil {
		return err
	}
	if err := s.makeDir(); err != nil {
		return err
	}
	if s.guard, err = watch(s.dir, s.temporary); err != nil {
		return err
	}
	fill := s.makeCluster
	if s.primary != nil {
		fill = s.copyCluster
	}
	if err := fill(ctx); err != nil {
		return err
	}
	return s.Boot(ctx)
}

// makeDir makes the directory of the cluster, its log and its password, owned by the account.
func (s *Server) makeDir() (err error) {
	s.dir, s.temporary = s.opts.Dir, s.opts.Dir == ""
	if s.temporary {
		s.dir, err = os.MkdirTemp(s.account.tempDir(), "pgserver-")
	} else {
		err = os.MkdirAll(s.dir, 0o700)
	}
	if err != nil {
		return err
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if !s.account.reaches(filepath.Dir(s.dir)) {
		return fmt.Errorf("user %q has no access to the parent directories of %s", s.account.name, s.dir)
	}
	return s.account.own(s.dir)
}

// makeCluster runs initdb, or reads the password of an existing cluster.
func (s *Server) makeCluster(ctx context.Context) error {
	secret := filepath.Join(s.dir, "password")
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); err == nil {
		text, err := os.ReadFile(secret)
		s.password = strings.TrimSpace(string(text))
		return err
	}
	s.password = rand.Text()
	if err := os.WriteFile(secret, []byte(s.password+"\n"), 0o600); err != nil {
		return err
	}
	if err := s.account.own(secret); err != nil {
		return err
	}
	cmd := s.command(ctx, "initdb", "-D", s.data(), "-U", "postgres", "--pwfile", secret,
		"-A", "scram-sha-256", "--no-locale", "-E", "UTF8", "--no-sync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// DSN returns the address of the server, for its superuser. A restart does not change it.
func (s *Server) DSN() string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", s.password),
		Host:     "127.0.0.1:" + strconv.Itoa(s.opts.Port),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Dir returns the directory of the cluster and the server's log.
func (s *Server) Dir() string { return s.dir }

// Restart shuts the server down and starts it again, on the same port and data.
func (s *Server) Restart(ctx context.Context, mode Mode) error {
	if err := s.Shut(mode); err != nil {
		return err
	}
	return s.Boot(ctx)
}

// Stop ends the server and removes its temporary directory. Further calls do nothing.
func (s *Server) Stop() error {
	mode := Fast
	if s.temporary {
		mode = Immediate // the data is removed
	}
	err := s.Shut(mode)
	if s.temporary && s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard != nil {
		err = errors.Join(err, s.guard.release())
		s.guard = nil
	}
	return err
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// patience is how long a server may take to end before it is killed.
const patience = 10 * time.Second
