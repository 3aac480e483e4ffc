//go:build race

package msgpack_test

// raceFactor is how much more the race detector has appends allocate.
const raceFactor = 4
