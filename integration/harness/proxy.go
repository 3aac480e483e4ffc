package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A Proxy is a proxy program with one of the configurations in examples/proxies, which listens at port 8080 there.
type Proxy struct {
	Program string
	File    string
	Wrapper string                     // a configuration around the file; %s: its text
	Args    func(file string) []string // file: the wrapped configuration
}

// NGINX returns nginx with one of its configurations.
func NGINX(file string) Proxy {
	return Proxy{Program: "nginx", File: file, Wrapper: nginxWrapper, Args: func(file string) []string {
		return []string{"-p", filepath.Dir(file), "-c", file, "-e", "stderr"}
	}}
}

// HAProxy returns HAProxy with its configuration.
func HAProxy() Proxy {
	return Proxy{Program: "haproxy", File: "haproxy.cfg", Wrapper: "%s", Args: func(file string) []string {
		return []string{"-db", "-f", file}
	}}
}

// Caddy returns Caddy with its configuration.
func Caddy() Proxy {
	return Proxy{Program: "caddy", File: "Caddyfile", Wrapper: "{\n\tadmin off\n}\n%s", Args: func(file string) []string {
		return []string{"run", "--adapter", "caddyfile", "--config", file}
	}}
}

// nginxWrapper is a minimal nginx.conf that includes a file and writes nothing outside its directory.
const nginxWrapper = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
%s
}`

// Find skips the test if the program is not installed. In CI it fails the test.
func (p *Proxy) Find(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath(p.Program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + p.Program) // which is not in every PATH
	}
	if err != nil {
		SkipMissing(t, p.Program)
	}
	p.Program = path
}

// Start runs the proxy in front of two nodes until the test ends, and returns its URL.
func (p *Proxy) Start(t *testing.T, nodes ...string) string {
	t.Helper()
	addr := FreeAddress(t)
	p.StartAt(t, addr, [2]string{"127.0.0.1:3001", nodes[0]}, [2]string{"127.0.0.1:3002", nodes[1]})
	return "http://" + addr
}

// StartAt runs the proxy at an address until the test ends, or until the returned function is called. It replaces texts
// of the configuration, each of which must be in it once.
func (p *Proxy) StartAt(t *testing.T, addr string, replace ...[2]string) (stop func()) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "proxies", p.File))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	for _, replace := range append(replace, [2]string{":8080", ":" + port}) {
		if strings.Count(string(text), replace[0]) != 1 {
			t.Fatalf("%s does not contain %s exactly once", p.File, replace[0])
		}
		text = []byte(strings.Replace(string(text), replace[0], replace[1], 1))
	}
	file := filepath.Join(t.TempDir(), p.File)
	if err := os.WriteFile(file, fmt.Appendf(nil, p.Wrapper, text), 0o600); err != nil {
		t.Fatal(err)
	}

	log := &LogBuffer{}
	cmd := exec.Command(p.Program, p.Args(file)...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		early := cmd.Process.Signal(syscall.SIGTERM) // fails if it has exited
		_ = cmd.Wait()
		if early != nil || t.Failed() {
			t.Errorf("output of %s: %s", p.Program, log)
		}
	}
	t.Cleanup(stop)
	if !Listens(addr) {
		t.Fatalf("%s does not listen", p.Program)
	}
	return stop
}

// Listens waits until a program accepts connections at an address.
func Listens(addr string) bool {
	return Eventually(MaxWait, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close() // it was accepted
		}
		return err == nil
	})
}

// FreeAddress returns an unused loopback address with a port outside the ephemeral range; the next port is unused as well.
func FreeAddress(t *testing.T) string {
	t.Helper()
	free := func(port int) bool {
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err == nil {
			_ = listener.Close() // nothing was accepted
		}
		return err == nil
	}
	for range 100 {
		if port := 15_000 + rand.IntN(15_000); free(port) && free(port+1) {
			return fmt.Sprint("127.0.0.1:", port)
		}
	}
	t.Fatal("no port is free")
	return ""
}
