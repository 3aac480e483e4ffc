package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is the postmaster between Boot and Shut.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
}

// Boot starts the server after [Server.Shut], and waits until it accepts connections.
func (s *Server) Boot(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return errors.New("boot: the server is running")
	}
	if s.opts.Port != 0 {
		return s.bootLocked(ctx)
	}
	// Another process may take the free port before Postgres does.
	var err error
	for range 3 {
		if s.opts.Port, err = freePort(ctx); err != nil {
			return err
		}
		if err = s.bootLocked(ctx); err == nil || !strings.Contains(err.Error(), "could not bind") {
			return err
		}
	}
	return err
}

func (s *Server) bootLocked(ctx context.Context) error {
	logPath := filepath.Join(s.dir, "log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// The context bounds the start only.
	cmd := s.command(context.WithoutCancel(ctx), "postgres", s.arguments()...)
	cmd.Env = append(cmd.Env, s.opts.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.proc = &process{cmd: cmd, gone: make(chan struct{})}
	go s.proc.reap() // ends with the process; Shut waits for it
	if err := s.proc.ready(ctx, filepath.Join(s.data(), "postmaster.pid")); err != nil {
		return errors.Join(fmt.Errorf("boot: %w: %s", err, tail(logPath)), s.shutLocked(Immediate))
	}
	return nil
}

// Shut ends the server and keeps its data. It does nothing if the server is down.
func (s *Server) Shut(mode Mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	if err := s.resumeLocked(); err != nil {
		return err
	}
	return s.shutLocked(mode)
}

func (s *Server) shutLocked(mode Mode) error {
	defer func() { s.proc = nil }()
	if s.proc.end(mode.signal()) || s.proc.end(syscall.SIGQUIT) {
		return nil
	}
	s.proc.end(syscall.SIGKILL)
	return fmt.Errorf("the server had to be killed: %s", tail(filepath.Join(s.dir, "log")))
}

// command returns a command of the server's account that receives no signals of the terminal.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.opts.Bin, name), args...)
	cmd.Dir = s.dir
	// PGDATA, PGPORT etc. are for clients. With a fixed locale Postgres on macOS stays single-threaded at start.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") }), "LC_ALL=C")
	s.account.apply(cmd)
	return cmd
}

// arguments returns the arguments of postgres. Those of Options are last and override the others.
func (s *Server) arguments() []string {
	set := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.opts.Port),
		"unix_socket_directories": "",
		"max_connections":         "300",
		"shared_buffers":          "64MB",
		"synchronous_commit":      "on",
		"logging_collector":       "off",
		"log_line_prefix":         "%m [%p] ",
	}
	if s.opts.Fast {
		set["fsync"], set["full_page_writes"] = "off", "off"
	}
	maps.Copy(set, s.opts.Settings)
	args := []string{"-D", s.data()}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		args = append(args, "-c", name+"="+set[name])
	}
	return args
}

func (p *process) reap() {
	_ = p.cmd.Wait() // the server's log has the reason
	close(p.gone)
}

// end sends a signal and waits until the process has ended, for patience at most.
func (p *process) end(sig syscall.Signal) (ended bool) {
	_ = p.cmd.Process.Signal(sig) // fails only if it has ended
	select {
	case <-p.gone:
		return true
	case <-time.After(patience):
		return false
	}
}

// ready waits until the postmaster writes "ready" in its pid file.
func (p *process) ready(ctx context.Context, pidFile string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		text, _ := os.ReadFile(pidFile) // does not exist at first
		lines := strings.Split(string(text), "\n")
		if len(lines) > 7 && lines[0] == strconv.Itoa(p.cmd.Process.Pid) && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.gone:
			return errors.New("the server ended at once")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// tail returns the end of a log, for an error message.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return cmp.Or(strings.Join(lines[max(0, len(lines)-5):], "\n"), "its log is empty")
}
