package pgserver

import (
	"errors"
	"io"
	"os/exec"
	"strconv"
)

// guard is a shell that waits until this process closes its end of a pipe. The kernel closes it when the process ends
// for any reason. (The parent death signal of Linux depends on one thread of the process.)
type guard struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// guardScript reads one line, which means that the server was stopped. Otherwise it ends the server and removes the
// temporary directory. An immediate shutdown removes the pid file last.
const guardScript = `
read -r line && exit 0
exec 2>/dev/null
cd "$1" || exit 0
[ -s suspended ] && kill -CONT $(cat suspended)
if pid=$(head -n 1 data/postmaster.pid); then
	kill -QUIT "$pid"
	n=0
	while [ -e data/postmaster.pid ] && [ "$n" -lt 60 ]; do sleep 0.1; n=$((n + 1)); done
	[ -e data/postmaster.pid ] && kill -KILL "$pid"
fi
cd /
[ "$2" = true ] && rm -rf "$1"
`

// watch starts the guard of a server's directory.
func watch(dir string, temporary bool) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "pgserver-guard", dir, strconv.FormatBool(temporary)) //nolint:noctx // it outlives this process
	cmd.Dir = "/"
	account{}.apply(cmd)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{cmd: cmd, pipe: pipe}, nil
}

// release ends the guard after the server was stopped.
func (g *guard) release() error {
	_, err := io.WriteString(g.pipe, "\n")
	return errors.Join(err, g.pipe.Close(), g.cmd.Wait())
}
