//go:build race

package msgpack_test

// raceFactor is the factor by which appends allocate more with the race detector.
const raceFactor = 4
