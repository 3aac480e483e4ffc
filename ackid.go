package socketio

import "hash/fnv"

// ackIDs makes the ids of one socket's calls. The callback of an official client
// answers on the connection that the client has when it is called, so an id must not
// have been used by a former socket of the client:
//
//   - within a session ids never repeat, over recoveries and nodes: the epoch of the
//     session, which every claim raises, and the number of the call are paired;
//   - the ids of a session start at a hash of the socket's id, so that those of two
//     sessions differ with high probability. The client may have a callback of a
//     session that was not recovered.
//
// Let n be the number of recoveries plus the number of calls of the connection divided by
// 1,024. Ids are below 2^31, the limit of the official client in Java, for n below 1,400,
// and below 2^53 for n up to four million.
type ackIDs struct {
	start uint64
	epoch uint64
}

const (
	ackStartBits = 30
	ackBlockBits = 10 // the calls of a block have consecutive ids
)

func newAckIDs(id SocketID, epoch int64) ackIDs {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return ackIDs{start: h.Sum64() >> (64 - ackStartBits), epoch: uint64(epoch)}
}

// id returns the id of a call by its number, from 0 on.
func (a ackIDs) id(call uint64) uint64 {
	block, rest := call>>ackBlockBits, call&(1<<ackBlockBits-1)
	diagonal := a.epoch + block // Cantor's pairing of epoch and block
	return a.start + (diagonal*(diagonal+1)/2+block)<<ackBlockBits + rest
}
