// Package model is the protocol of the log and the sessions as a state machine, with an explorer that visits every state:
// every order in which the nodes, Postgres, the clients and faults can take their steps, within a budget. It finds orders
// that a test of the real system would rarely meet.
//
//	go test ./model                                                 # all configurations and all faults
//	go test -v -run 'FindsFaults/SpliceGap' ./model                 # one fault, with the sequence of moves to it
//	SOCKETIO_TEST_MODEL=deep go test -v -run Model_Deep ./model     # larger models
//
// docs/testing.md lists what is modelled and what is not, and the code that each move stands for.
//
// # Simplifications
//
// What the code does under a lock, or in one transaction, is one move. The comments name the lock.
//
// A connection between node and client delivers at once, until it breaks at some move. The client reconnects at another
// move. What the node sends in between is lost, and the node may notice late. Delayed events make no difference, because
// a client only records what arrives until it reconnects.
//
// A suspended node makes no moves. A statement on its way is equivalent to one just before the suspension.
//
// There is no clock. What the code does after a time, the model may do at any time: notice a broken connection, declare a
// silent node dead, take a checkpoint, trim the log. A move whose promise depends on time says so.
package model
