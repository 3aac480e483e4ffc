// Package transporttest joins an Engine.IO client and a server in memory, over
// net.Pipe: no port, no real time needed, fit for testing/synctest.
//
//	c := transporttest.Dial(t, server, "/socket.io/?EIO=4&transport=websocket")
//	c.WriteText("40")
//	got := c.ReadText()
//
// The client reads all the time, as a browser does, and answers PINGs, unless
// told otherwise. In a synctest bubble the server must be shut down before the
// bubble ends, for its heartbeat runs in there.
package transporttest
