//go:build !steppedclock

package main

import "net/http"

// routeClock adds nothing: the clock of this build is that of the machine.
func (n *node) routeClock(*http.ServeMux) {}
