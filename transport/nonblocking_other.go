//go:build !unix

package transport

import (
	"net"
	"syscall"
)

// rawConn: elsewhere a socket cannot be written to without waiting.
func rawConn(net.Conn) syscall.RawConn { return nil }

func writeNow(syscall.RawConn, []byte) (int, error) { return 0, nil } // never called: no connection is raw
