//go:build steppedclock

package main

import (
	"net/http"
	"time"
)

// routeClock adds what sets the wall clock of this node:
//
//	POST /control/clock   by how many seconds it differs from that of the machine
//
// Package time has StepWall where the build replaced it, see steppedProgram in the tests.
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
			Wall      int64 `json:"wall"`      // by how many seconds it went on meanwhile
			Monotonic int64 `json:"monotonic"` // and the other clock
		}{int64(after.Round(0).Sub(before.Round(0)).Seconds()), int64(after.Sub(before).Seconds())})
	})
}
