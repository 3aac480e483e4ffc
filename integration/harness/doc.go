// Package harness starts clusters, clients and faults for the integration tests: several node processes, a real
// Postgres, the official JavaScript client and raw clients in Go. The tests and their packages:
//
//   - cluster: several nodes: order, delivery, recovery, operations, calls, failover, proxies, clocks.
//   - clients: the official client, python-socketio and engine.io-client at one server, and sessions that are compared
//     with the official server.
//   - chaos: fault injection with a random schedule; chaos/testdata/mutations are faults in the code that it must find.
//   - checker: decides whether the clients saw what was promised. History checks by the clients alone, Recorder by the log.
//   - model: the protocol as a state machine, explored exhaustively.
//   - api, browser: one feature after the other with official clients, and the pages of the examples.
//   - bench: measurements, as a program and as tests.
//   - node, wire: the node program, and the raw client.
//   - js: the official client and server; js/client.mjs hosts hundreds of clients in one process.
//
// Integration is a module of its own, so that its dependencies are not those of the library.
//
//	go test -race ./...                                             # nodes are built with -race, too
//	SOCKETIO_BENCH=1 go test -run Bench -v -count=1 ./bench         # idle memory and latency
//	SOCKETIO_TEST_DOCKER=1 go test -run Testcontainers ./cluster    # with Postgres in a container
//
// The tests need Node.js and the packages that "npm ci" installs in js, and fail without them.
//
// # Environment
//
//   - SOCKETIO_TEST_SEED: the seed of everything random. Tests that use it log it.
//   - SOCKETIO_TEST_LONG: if set, TestSQLEmit_* measure for longer, and TestOperations_JoinAndLeaveInOrder runs five
//     times as many rounds.
//   - SOCKETIO_TEST_LIMITS: if set, TestLimits_* run.
//   - SOCKETIO_TEST_AWAY: how long TestPostgres_Outage stops Postgres. Default: 10s.
//   - SOCKETIO_TEST_IMAGE: the image of TestCluster_OnTestcontainers. Default: postgres:17-alpine. Where no registry can be
//     reached, scripts/docker-image builds one, and TESTCONTAINERS_RYUK_DISABLED=true avoids the second image that
//     testcontainers uses. Inside a container TESTCONTAINERS_HOST_OVERRIDE names the host that exposes the ports.
//   - SOCKETIO_TEST_LOGS: if set, the logs of the nodes are shown also if no test fails.
//   - SOCKETIO_STORM: the number of clients in TestRecovery_ReconnectStorm. Default: 500.
//   - SOCKETIO_CLAIMS, SOCKETIO_CLAIMS_ROUNDS: sessions and rounds of TestClaims_Concurrent_OneSurvives. Default: 100, 3.
//   - SOCKETIO_BURST: the number of clients in TestConnect_BurstOverEveryTransport. Default: 4000.
//   - SOCKETIO_JITTER, SOCKETIO_JITTER_SECONDS: clients and duration of TestBench_Jitter. Default: 500, 60.
//   - SOCKETIO_CHAOS_SEEDS, SOCKETIO_CHAOS_SECONDS, SOCKETIO_CHAOS_CLIENTS: runs, duration and clients of TestChaos_AllFaults.
//   - SOCKETIO_CHAOS_DIR: the directory in which every history is saved. By default only one with a violation is.
//   - SOCKETIO_CHAOS_MUTATIONS: the mutations that TestMutations_AreFound builds: "all", or names with commas.
//   - SOCKETIO_CHAOS_TRUNCATIONS: how often TestChaos_LogTruncation truncates the log. Default: 6.
package harness
