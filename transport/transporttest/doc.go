// Package transporttest connects an Engine.IO client to a server in memory, over
// net.Pipe, without ports or real time, so that it can be used with testing/synctest.
//
//	c := transporttest.Dial(t, server, "/socket.io/?EIO=4&transport=websocket")
//	c.WriteText("0") // CONNECT
//	got := c.ReadText() // 0{"sid":…}
//
// The client reads continuously, like a browser, and answers PINGs, unless the test
// disables that. In a synctest bubble the server must be shut down before the bubble
// ends, because the goroutine of its heartbeat belongs to the bubble.
package transporttest
