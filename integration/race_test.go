//go:build race

package integration_test

const RaceEnabled = true
