package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// onProbe answers a probe of the node, at times so late that the client has another connection by then.
func (c *client) onProbe(id string, data json.RawMessage) {
	var args []string
	if json.Unmarshal(data, &args) != nil || len(args) != 2 {
		return
	}
	answer, err := json.Marshal(args[1:])
	if err != nil {
		return
	}
	c.set.background.Go(func() {
		harness.Pause(context.Background(), time.Duration(rand.IntN(4)*rand.IntN(300))*time.Millisecond)
		_ = c.Acknowledge(id, answer) // there may be no connection
	})
}

// disconnect sends DISCONNECT and closes the connection; run connects again.
func (c *client) disconnect() {
	if !c.hasSession.Load() {
		return
	}
	c.disconnected.Store(true)
	c.set.recorder.Note(c.number, "disconnects")
	_ = c.Send("41") // the connection may be gone
	c.cut("close")
}

// claimConcurrently claims the client's session by one or two other connections, which receive some events and end.
// This must not change what the client receives.
func (c *client) claimConcurrently(ctx context.Context, rng *rand.Rand) {
	pid, offset := c.PID(), c.Offset()
	if pid == "" {
		return
	}
	addr, times, stay := c.set.randomNode(rng), 1+rng.IntN(2), time.Duration(rng.IntN(4)*rng.IntN(100))*time.Millisecond
	c.set.recorder.Note(c.number, "%d other connections claim the session", times)
	for range times {
		c.set.background.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
			defer cancel()
			link, err := wire.Dial(ctx, addr)
			if err != nil {
				return
			}
			defer link.Cut()
			claim := map[string]string{"pid": pid}
			if offset != "" {
				claim["offset"] = offset
			}
			body, err := json.Marshal(claim)
			if err == nil && link.Send("40"+string(body)) == nil {
				harness.Pause(ctx, stay)
			}
		})
	}
}

// wrongAck returns a violation if a node received an acknowledgement that belongs to another probe.
func (run *chaosRun) wrongAck() (probes, far int, v *checker.ViolationError) {
	for _, n := range run.healthy {
		stats := n.Stats()
		probes += stats.Probes
		far += stats.FarProbes
		if len(stats.WrongAcks) > 0 {
			return probes, far, &checker.ViolationError{Kind: "wrong acknowledgement", Text: fmt.Sprintf("%s: %d acknowledgements, the first: %s", n.Name, len(stats.WrongAcks), stats.WrongAcks[0])}
		}
	}
	return probes, far, nil
}
