// Package integration holds the tests of a whole cluster: several nodes, each a process of its own, a real Postgres,
// and the official JavaScript client. It is a module of its own, so that what the tests need burdens nobody else.
//
//	go test -race ./...                                    # the promises; nodes are built with -race as well
//	go test -run Bench -v -count=1 .                       # with SOCKETIO_BENCH=1: idle memory and latency, printed
//	SOCKETIO_TEST_DOCKER=1 go test -run Testcontainers .   # the same promises on a Postgres in a container
//
// A test waits for Node and for what "npm ci" installs in the directory js; without them it fails and says so.
//
// # What is where
//
//   - node is one node of a cluster: a program that serves Socket.IO and takes orders over HTTP.
//   - js/client.mjs hosts hundreds of official clients in one process and takes orders, one JSON line each.
//   - wire is a client in Go that keeps the official client's rules, for thousands of connections.
//   - history is the judge: it is told what was emitted and what arrived, and finds what was lost, doubled, out of
//     order, or delivered to whom it did not concern. History judges by the clients alone, Book by the log.
//   - fire_*_test.go drive a cluster with all faults at once, see docs/fire.md; testdata/faults are planted there.
//
// # Numbers that can be turned
//
//   - SOCKETIO_TEST_SEED: the seed of everything random, printed by the tests that use it.
//   - SOCKETIO_TEST_LONG: if set, TestSQLEmits runs as long as for docs/benchmarks.md, and TestRolling five times as long.
//   - SOCKETIO_TEST_AWAY: for how long TestPostgresAway30s stops Postgres. Default: 10s.
//   - SOCKETIO_TEST_IMAGE: the image of the container tests. Default: postgres:17-alpine. Where no registry can be
//     reached, scripts/docker-image makes one, and TESTCONTAINERS_RYUK_DISABLED=true does without testcontainers' own;
//     inside of a container TESTCONTAINERS_HOST_OVERRIDE names the host on which the ports appear.
//   - SOCKETIO_STORM: how many clients come back at once in TestStorm. Default: 500.
//   - SOCKETIO_FIRE_…: see docs/fire.md.
//   - SOCKETIO_TEST_LOGS: if set, the nodes' logs are shown also where nothing failed.
package harness
