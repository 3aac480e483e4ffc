//go:build !unix

package transport

import (
	"net"
	"syscall"
)

// rawConn returns nil: this system has no nonblocking write.
func rawConn(net.Conn) syscall.RawConn { return nil }

func writeNow(syscall.RawConn, []byte) (int, error) { return 0, nil } // never called: no connection is raw
