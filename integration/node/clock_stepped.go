//go:build steppedclock

package main

import (
	"net/http"
	"time"
)

// routeClock adds a route that sets the wall clock of this node:
//
//	POST /control/clock   its difference from the clock of the machine, in seconds
//
// The build replaces package time by one with StepWall, see harness.SteppedClockFlags.
func (n *node) routeClock(mux *http.ServeMux) {
	mux.HandleFunc("POST /control/clock", func(w http.ResponseWriter, r *http.Request) {
		var seconds int64
		if !decode(w, r, &seconds) {
			return
		}
		before := time.Now()
		time.StepWall(seconds)
		after := time.Now()
		reply(w, struct {
			Wall      int64 `json:"wall"`      // seconds that the wall clock advanced meanwhile
			Monotonic int64 `json:"monotonic"` // and the monotonic clock
		}{int64(after.Round(0).Sub(before.Round(0)).Seconds()), int64(after.Sub(before).Seconds())})
	})
}
