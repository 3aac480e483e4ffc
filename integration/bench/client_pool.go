package main

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"

	"github.com/gobwas/ws"
)

// A clientPool is many connections that only count what they receive.
type clientPool struct {
	conns    []net.Conn
	received *meter
	readers  sync.WaitGroup
}

// connectPool connects n clients to a node, each with a CONNECT to "/". They connect from the address source, which
// has ports for about 25,000 of them.
func connectPool(ctx context.Context, addr, source string, n, atOnce int) (*clientPool, error) {
	c := &clientPool{conns: make([]net.Conn, n), received: newMeter()}
	var from net.Dialer
	if source != loopback {
		from.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
		from.Control = lateBound
	}
	dialer := ws.Dialer{NetDial: from.DialContext}
	err := many(n, atOnce, func(i int) error {
		conn, early, _, err := dialer.Dial(ctx, "ws://"+addr+"/socket.io/?EIO=4&transport=websocket")
		if err != nil {
			return err
		}
		c.conns[i] = conn
		if early != nil { // the handshake may have arrived with the response
			return awaitConnect(io.MultiReader(io.LimitReader(early, int64(early.Buffered())), conn), conn)
		}
		return awaitConnect(conn, conn)
	})
	if err != nil {
		c.close()
		return nil, err
	}
	c.count()
	return c, nil
}

// lateBound has the system choose the port of a connection from a given source address at connect, as it does without
// one. Then a port can serve several nodes, and be used again after a close.
func lateBound(_, _ string, conn syscall.RawConn) error {
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT, ip(7); other systems have fewer ports
	return conn.Control(func(fd uintptr) {
		if runtime.GOOS == "linux" {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1)
		}
	})
}

// awaitConnect reads the handshake, sends CONNECT and reads the answer.
func awaitConnect(r io.Reader, w io.Writer) error {
	for i := range 2 {
		h, err := ws.ReadHeader(r)
		if err == nil {
			_, err = io.CopyN(io.Discard, r, h.Length)
		}
		if err != nil {
			return err
		}
		if i == 0 {
			frame := ws.MaskFrame(ws.NewTextFrame([]byte("40")))
			if err := ws.WriteFrame(w, frame); err != nil {
				return err
			}
		}
	}
	return nil
}

// connectBare connects n clients to a listener that only upgrades, and returns the server's connections too.
func connectBare(ctx context.Context, n int) (*clientPool, []net.Conn, error) {
	listener, err := listen(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = listener.Close() }()
	accepted := make(chan net.Conn, n)
	go func() { // ends when the listener is closed
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := ws.Upgrade(conn); err == nil {
				accepted <- conn
			}
		}
	}()
	c := &clientPool{conns: make([]net.Conn, n), received: newMeter()}
	err = many(n, 64, func(i int) (err error) {
		c.conns[i], _, _, err = ws.Dial(ctx, "ws://"+listener.Addr().String())
		return err
	})
	if err != nil {
		c.close()
		return nil, nil, err
	}
	servers := make([]net.Conn, n)
	for i := range servers {
		servers[i] = <-accepted
	}
	c.count()
	return c, servers, nil
}

// count starts the readers of all clients.
func (c *clientPool) count() {
	for _, conn := range c.conns {
		c.readers.Go(func() { // ends with the connection
			buf := make([]byte, 32<<10)
			for {
				n, err := conn.Read(buf)
				c.received.add(n)
				if err != nil {
					return
				}
			}
		})
	}
}

func (c *clientPool) close() {
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
	c.readers.Wait()
}

// many runs do for each of n, atOnce at a time, and returns the first error.
func many(n, atOnce int, do func(i int) error) error {
	slots := make(chan struct{}, atOnce)
	errs := make(chan error, n)
	for i := range n {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			errs <- do(i)
		}()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
