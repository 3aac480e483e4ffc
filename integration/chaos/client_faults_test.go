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

// onProbe answers a question of the node, at times so late that the client has another connection by then.
func (b *client) onProbe(id string, data json.RawMessage) {
	var args []string
	if json.Unmarshal(data, &args) != nil || len(args) != 2 {
		return
	}
	answer, err := json.Marshal(args[1:])
	if err != nil {
		return
	}
	b.set.background.Go(func() {
		harness.Pause(context.Background(), time.Duration(rand.IntN(4)*rand.IntN(300))*time.Millisecond)
		_ = b.Acknowledge(id, answer) // there may be no connection
	})
}

// disconnect disconnects of the client's own accord, and connects again, which is up to live.
func (b *client) disconnect() {
	if !b.hasSession.Load() {
		return
	}
	b.disconnected.Store(true)
	b.set.recorder.Note(b.number, "disconnects")
	_ = b.Send("41") // the connection may be gone
	b.cut("close")
}

// claimConcurrently claims the client's session by another connection at once, which hears some of it and goes away: nothing that
// the client itself gets may depend on that.
func (b *client) claimConcurrently(ctx context.Context, rng *rand.Rand) {
	pid, offset := b.PID(), b.Offset()
	if pid == "" {
		return
	}
	addr, times, stay := b.set.randomNode(rng), 1+rng.IntN(2), time.Duration(rng.IntN(4)*rng.IntN(100))*time.Millisecond
	b.set.recorder.Note(b.number, "its session is claimed by %d more connections", times)
	for range times {
		b.set.background.Go(func() {
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

// wrongAck finds an answer that came to another question than that which it was given to.
func (f *chaosRun) wrongAck() (asked int, v *checker.ViolationError) {
	for _, n := range f.healthy {
		stats := n.Stats()
		asked += stats.Probes
		if len(stats.WrongAcks) > 0 {
			return asked, &checker.ViolationError{Kind: "misanswered", Text: fmt.Sprintf("%s: %d answers, the first: %s", n.Name, len(stats.WrongAcks), stats.WrongAcks[0])}
		}
	}
	return asked, nil
}
