package socketio_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

func TestAckIDs_OfASession_DifferAndAreSmall(t *testing.T) {
	t.Parallel()
	const recoveries, calls = 150, 5000
	for _, session := range []socketio.SocketID{"", "a", "bZ", "BiQrS8sJTw5Pz6VQh2Wn"} {
		seen := make(map[uint64]bool, recoveries*calls)
		for epoch := range int64(recoveries) {
			for call := range uint64(calls) {
				id := socketio.AckID(session, epoch, call)
				if seen[id] {
					t.Fatalf("session %q: id %d twice, at epoch %d", session, id, epoch)
				}
				if seen[id] = true; id >= 1<<31 {
					t.Fatalf("session %q: id %d of call %d in epoch %d", session, id, call, epoch)
				}
			}
		}
	}
	for _, at := range [][2]uint64{{4_000_000, 0}, {1, 4_000_000_000}, {1_000_000, 3_000_000_000}} {
		if id := socketio.AckID("x", int64(at[0]), at[1]); id >= 1<<53 {
			t.Errorf("id %d of call %d in epoch %d", id, at[1], at[0])
		}
	}
}

// The callback of a request from before the connection broke answers on the next
// connection, whether the session was recovered or not.
func TestCall_LateAnswerOfFormerConnection_IsIgnored(t *testing.T) {
	t.Parallel()
	const ask socketio.Request[string, string] = "ask"
	for name, opts := range map[string]*socketio.Options{
		"recovered":      nil,
		"new session":    nil,
		"no recovery":    {Recovery: socketio.Recovery{Disabled: true}},
		"before CONNECT": nil,
	} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprint(name, all), func(t *testing.T) {
				t.Parallel()
				bubble(t, opts, func(t *testing.T, io *socketio.Server) {
					question := func(text string) <-chan string {
						answers := make(chan string, 1)
						go func() {
							if !all {
								v, err := ask.Call(context.Background(), only(t, io), text)
								answers <- fmt.Sprint(v, err)
								return
							}
							for r, err := range ask.CallAll(context.Background(), io.Local(), text) {
								answers <- fmt.Sprint(r.Value, err)
							}
						}()
						synctest.Wait()
						return answers
					}
					ids := map[string]bool{}
					p := connected(t, io)
					question("delete everything?")
					late := ackID(t, p.ReadText())
					ids[late] = true
					for range 3 {
						p.Cut()
						synctest.Wait()
						if name == "new session" {
							p.pid = "unknown"
						}
						back := dial(t, io)
						if name == "before CONNECT" {
							back.WriteText("3" + late + `["no"]`)
						}
						back.connect(p.ticket())
						p = back
						answers := question("keep a copy?")
						now := ackID(t, p.ReadText())
						if ids[now] {
							t.Fatalf("id %s again", now)
						}
						ids[now] = true
						p.WriteText("3" + late + `["no"]`)
						synctest.Wait()
						p.WriteText("3" + now + `["yes"]`)
						if got := <-answers; got != "yes<nil>" && got != "yes <nil>" {
							t.Errorf("answered with %s", got)
						}
						question("and now?")
						late = ackID(t, p.ReadText())
						ids[late] = true
					}
				})
			})
		}
	}
}

// ackID returns the id of a request.
func ackID(t *testing.T, text string) string {
	t.Helper()
	id, _, found := strings.Cut(strings.TrimPrefix(text, "2"), "[")
	if _, err := json.Number(id).Int64(); err != nil || !found {
		t.Fatalf("not a request: %s", text)
	}
	return id
}

func TestCall_AfterRecoveryOnAnotherNode_IDsDiffer(t *testing.T) {
	t.Parallel()
	const ask socketio.Request[string, string] = "ask"
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		seen := make(map[string]bool)
		p := connected(t, a)
		for round := range 20 {
			node := []*socketio.Server{a, b}[round%2]
			if round > 0 {
				p = p.comeBack(node)
			}
			for range 10 {
				go func() { _, _ = ask.Call(context.Background(), only(t, node), "?") }()
				synctest.Wait()
				id := ackID(t, p.ReadText())
				if seen[id] {
					t.Fatalf("round %d: id %s again", round, id)
				}
				seen[id] = true
			}
		}
	})
}
