//go:build race

package harness

// RaceEnabled reports whether the tests, and the nodes that they build, run with the race detector.
const RaceEnabled = true
