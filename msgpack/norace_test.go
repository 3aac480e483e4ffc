//go:build !race

package msgpack_test

const raceFactor = 1
