package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNoPooler reports that PgBouncer is not installed.
var ErrNoPooler = errors.New("PgBouncer is not installed (Debian, Ubuntu: apt-get install pgbouncer)")

// PoolerOptions configures a Pooler.
type PoolerOptions struct {
	Mode     string            // pool_mode: session or transaction
	Size     int               // the number of connections to Postgres. Default: 20
	Settings map[string]string // further settings of the section [pgbouncer]
}

// A Pooler is a running PgBouncer in front of a Postgres. It ends with the process that started it.
type Pooler struct {
	cmd  *exec.Cmd
	in   io.Closer
	out  *strings.Builder
	dir  string
	port int
}

// StartPooler starts a PgBouncer for the database at dsn, which is a URL, and waits until it accepts connections.
func StartPooler(ctx context.Context, dsn string, o PoolerOptions) (*Pooler, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // not on every user's PATH
	}
	if err != nil {
		return nil, ErrNoPooler
	}
	to, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("start PgBouncer: the address of Postgres is not a URL")
	}
	p := &Pooler{out: &strings.Builder{}}
	if p.port, err = freePort(ctx); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "pgbouncer-"); err != nil {
		return nil, err
	}
	file := filepath.Join(p.dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(poolerConfig(to, p.port, o)), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	args := "-q"
	if os.Geteuid() == 0 {
		args = "-q -u nobody" // PgBouncer refuses to run as root
	}
	// The shell ends PgBouncer when its standard input is closed, which happens at the end of this process.
	p.cmd = exec.Command("sh", "-c", `"$0" `+args+` "$1" & cat; kill $!; wait $!`, program, file) //nolint:noctx // Stop ends it
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	if err := p.answers(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start PgBouncer: %w: %s", err, p.out)
	}
	return p, nil
}

func poolerConfig(to *url.URL, port int, o PoolerOptions) string {
	var b strings.Builder
	password, _ := to.User.Password()
	fmt.Fprintf(&b, "[databases]\npooled = host=%s port=%s dbname=%s user=%s password='%s'\n",
		to.Hostname(), cmp.Or(to.Port(), "5432"), strings.TrimPrefix(to.Path, "/"), to.User.Username(), password)
	fmt.Fprintf(&b, "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\n", port)
	fmt.Fprintf(&b, "pool_mode = %s\ndefault_pool_size = %d\nmax_client_conn = 500\n", o.Mode, cmp.Or(o.Size, 20))
	for name, value := range o.Settings {
		fmt.Fprintf(&b, "%s = %s\n", name, value)
	}
	return b.String()
}

// answers waits until the pooler accepts connections.
func (p *Pooler) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(p.port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// DSN returns the address of the pooled database. It disables prepared statements in pgx, because PgBouncer before
// 1.21, as in Debian, does not track them.
func (p *Pooler) DSN() string {
	return "postgres://any@127.0.0.1:" + strconv.Itoa(p.port) + "/pooled?sslmode=disable&default_query_exec_mode=exec"
}

// Output returns the output of PgBouncer. It is called after Stop.
func (p *Pooler) Output() string { return p.out.String() }

// Stop ends the pooler and removes its files.
func (p *Pooler) Stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait() // reports the signal that ended it
	_ = os.RemoveAll(p.dir)
}
