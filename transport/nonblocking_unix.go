//go:build unix

package transport

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// A nonblockingWriter writes as much as the socket's buffer accepts, without waiting.
type nonblockingWriter struct {
	bytes []byte
	n     int
	err   error
	bound func(fd uintptr) bool // call, bound once, so that writing does not allocate
}

var nonblockingWriters = sync.Pool{New: func() any { //nolint:gochecknoglobals // a pool
	n := new(nonblockingWriter)
	n.bound = n.call
	return n
}}

// rawConn returns the socket of a plain socket connection. It returns nil for others,
// such as TLS or a wrapper of the application.
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

// writeNow writes what the socket accepts of p, and returns how many bytes that was.
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

// call is called by RawConn.Write; it returns true so that Write does not wait.
func (n *nonblockingWriter) call(fd uintptr) bool {
	for {
		n.n, n.err = syscall.Write(int(fd), n.bytes)
		if !errors.Is(n.err, syscall.EINTR) {
			return true
		}
	}
}
