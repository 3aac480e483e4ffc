//go:build unix

package transport

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// A nonblockingWriter writes to a socket as much as its buffer takes, and does not wait.
type nonblockingWriter struct {
	bytes []byte
	n     int
	err   error
	bound func(fd uintptr) bool // call, bound once: writing allocates nothing
}

var nonblockingWriters = sync.Pool{New: func() any { //nolint:gochecknoglobals // a pool
	n := new(nonblockingWriter)
	n.bound = n.call
	return n
}}

// rawConn returns the socket of a connection that is nothing but a socket, else nil:
// around TLS, or what the application puts in between, there is no way.
func rawConn(conn net.Conn) syscall.RawConn {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		raw, err := conn.(syscall.Conn).SyscallConn() //nolint:forcetypeassert // both are
		if err == nil {
			return raw
		}
	}
	return nil
}

// writeNow returns how much of p it has written.
func writeNow(raw syscall.RawConn, p []byte) (int, error) {
	n := nonblockingWriters.Get().(*nonblockingWriter) //nolint:forcetypeassert // it has one type
	defer nonblockingWriters.Put(n)

	n.bytes = p
	err := raw.Write(n.bound)
	n.bytes = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(n.err, syscall.EAGAIN):
		return 0, nil
	default:
		return max(n.n, 0), n.err
	}
}

// call is what raw calls back: true means that it need not wait and call again.
func (n *nonblockingWriter) call(fd uintptr) bool {
	for {
		n.n, n.err = syscall.Write(int(fd), n.bytes)
		if !errors.Is(n.err, syscall.EINTR) {
			return true
		}
	}
}
