package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// A process is a program that answers each line of its standard input with one line, and ends with its input.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startProcess(ctx context.Context, path string, args ...string) (*process, error) {
	return startCommand(exec.CommandContext(ctx, path, args...)) // its log is discarded
}

func startCommand(cmd *exec.Cmd) (*process, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &process{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

// startSelf starts this program as a subprocess, see runSubprocess.
func startSelf(ctx context.Context, args ...string) (*process, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = os.Stderr
	return startCommand(cmd)
}

// line returns the next line that the process prints.
func (p *process) line() (string, error) {
	s, err := p.out.ReadString('\n')
	return strings.TrimSpace(s), err
}

// ask sends a line and returns the answer.
func (p *process) ask(question string) (string, error) {
	if _, err := io.WriteString(p.in, question+"\n"); err != nil {
		return "", err
	}
	return p.line()
}

func (p *process) stop() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// kill ends the process with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // fails, because it was killed
}

// A footprint is the resident memory in bytes, after a collection, and the goroutines of a process.
type footprint struct{ bytes, goroutines float64 }

// ownFootprint returns that of this process.
func ownFootprint() (footprint, error) {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return footprint{}, err
	}
	var size, resident int
	_, err = fmt.Sscan(string(text), &size, &resident)
	return footprint{float64(resident * os.Getpagesize()), float64(runtime.NumGoroutine())}, err
}

// footprint asks a subprocess for its footprint.
func (p *process) footprint(context.Context) (footprint, error) {
	answer, err := p.ask("footprint")
	if err != nil {
		return footprint{}, err
	}
	var f footprint
	_, err = fmt.Sscan(answer, &f.bytes, &f.goroutines)
	return f, err
}

// A remote is a node process.
type remote struct {
	*process

	addr string
}

// spawn starts a node process on a schema, with more flags.
func (m *machine) spawn(ctx context.Context, schema string, flags ...string) (*remote, error) {
	path := filepath.Join(m.scratch, "node")
	if _, err := os.Stat(path); err != nil {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "./node").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the node: %w: %s", err, out)
		}
	}
	p, err := startProcess(ctx, path, append([]string{"-dsn", m.dsn, "-schema", schema, "-ping-interval", "10m"}, flags...)...)
	if err != nil {
		return nil, err
	}
	addr, err := p.readAddress()
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("start a node: %w", err)
	}
	return &remote{p, addr}, nil
}

// readAddress returns the address in the first line of a server.
func (p *process) readAddress() (addr string, err error) {
	text, err := p.line()
	var hello struct{ Addr string }
	if err == nil {
		err = json.Unmarshal([]byte(text), &hello)
	}
	return hello.Addr, err
}

// request sends a request to the node and returns the answer.
func (r *remote) request(ctx context.Context, method, path, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, answer)
	}
	return string(answer), err
}

func (r *remote) footprint(ctx context.Context) (f footprint, err error) {
	text, err := r.request(ctx, http.MethodGet, "/control/memory", "")
	if err == nil {
		_, err = fmt.Sscan(text, &f.bytes)
	}
	if err != nil {
		return f, err
	}
	if text, err = r.request(ctx, http.MethodGet, "/debug/pprof/goroutine?debug=1", ""); err == nil {
		_, err = fmt.Sscanf(text, "goroutine profile: total %g", &f.goroutines)
	}
	return f, err
}
