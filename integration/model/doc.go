// Package model is the protocol of the log and of the sessions as a machine of states, and an explorer that visits
// every one of them: each order in which the nodes, Postgres, the clients and misfortune can take their steps, within
// a budget. It finds what no test with a clock finds, an order that nobody thought of.
//
//	go test ./model                                   # all configurations and all planted faults
//	go test -v -run 'Found/SpliceGap' ./model         # a fault, with the way to it
//	SOCKETIO_TEST_MODEL=deep go test -v -run Deeper ./model
//
// docs/model.md says what is modelled and what is not, and which line of the code each move stands for.
//
// # What makes it small
//
// What the code does under a lock, or in one transaction, is one move. The comments name the lock.
//
// A line between node and client delivers at once what it delivers at all. It breaks at some move, and the client
// comes back at another; what the node sends in between is lost, and the node may notice late. An event that arrives
// later than at once makes no difference, because a client does nothing but note what arrives until it comes back.
//
// A node that is frozen makes no moves. A statement that it had under way is the same as one just before.
//
// Nothing has a clock. What the code does after a time, the model may do at any time: it notices a dead line, buries a
// silent node, takes a checkpoint, trims the log. Where the promises rest on a time, the move says so.
package model
