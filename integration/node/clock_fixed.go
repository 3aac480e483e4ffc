//go:build !steppedclock

package main

import "net/http"

// routeClock adds nothing: in this build the clock cannot be set.
func (n *node) routeClock(*http.ServeMux) {}
