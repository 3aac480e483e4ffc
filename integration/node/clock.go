package main

import "time"

// clock returns the moment in nanoseconds, by the wall clock of when this node started and the monotonic one since: the
// tests compare moments of several nodes, whatever is done to the wall clock of one.
func (n *node) clock() int64 { return n.started.Add(time.Since(n.started)).UnixNano() }
