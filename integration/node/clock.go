package main

import "time"

// clock returns the time in nanoseconds: the wall clock at the start of the node plus the monotonic clock since. The
// tests compare times of several nodes, also if the wall clock of one is set.
func (n *node) clock() int64 { return n.started.Add(time.Since(n.started)).UnixNano() }
