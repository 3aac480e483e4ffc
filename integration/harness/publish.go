package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
)

// A Publication is the body of the node's POST /control/publish.
type Publication struct {
	Publisher int              `json:"publisher"`
	First     int              `json:"first"`
	Count     int              `json:"count"`
	Namespace string           `json:"namespace,omitempty"`
	Targets   []checker.Target `json:"-"`
	PerSecond int              `json:"per_second"`
	TimeoutMS int              `json:"timeout_ms"`
	Wait      bool             `json:"wait"`
	Volatile  bool             `json:"volatile"`
	Pad       int              `json:"pad"`
	PadEvery  int              `json:"pad_every"`
}

func (p Publication) target(seq int) checker.Target {
	if len(p.Targets) == 0 {
		return checker.Target{}
	}
	return p.Targets[seq%len(p.Targets)]
}

// MarshalJSON implements json.Marshaler.
func (p Publication) MarshalJSON() ([]byte, error) {
	type plain Publication
	type target struct {
		Rooms  []string `json:"rooms"`
		Except []string `json:"except"`
	}
	targets := []target{}
	for _, to := range p.Targets {
		targets = append(targets, target(to))
	}
	return json.Marshal(struct {
		plain
		Targets []target `json:"targets"`
	}{plain(p), targets})
}

// A PublishResult counts the outcomes of a publication's emits.
type PublishResult struct{ Acknowledged, Failed, Unknown int }

// Publish has the node emit, records the results in h, and returns when all are known or the node has ended.
func (n *Node) Publish(ctx context.Context, h interface{ Emitted(e checker.Emit) }, p Publication) PublishResult {
	began := time.Now().UnixNano()
	body, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	var o PublishResult
	next := p.First
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL+"/control/publish", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			var seq int
			var start, end int64
			var text string
			if err := json.Unmarshal(lines.Bytes(), &[]any{&seq, &start, &end, &text}); err != nil {
				break // an incomplete line of a node that was killed
			}
			h.Emitted(checker.Emit{ID: checker.NewID(p.Publisher, seq), To: p.target(seq), Start: start, End: end, Err: text})
			next = seq + 1
			if text == "" {
				o.Acknowledged++
			} else {
				o.Failed++
			}
		}
		resp.Body.Close()
	}
	for ; next < p.First+p.Count; next++ {
		h.Emitted(checker.Emit{ID: checker.NewID(p.Publisher, next), To: p.target(next), Start: began})
		o.Unknown++
	}
	return o
}

// MustPublish is Publish, and fails the test unless every emit is acknowledged.
func (n *Node) MustPublish(h *checker.History, p Publication) {
	n.T.Helper()
	if o := n.Publish(n.T.Context(), h, p); o.Acknowledged != p.Count {
		n.T.Fatalf("publish on %s: %+v", n.Name, o)
	}
}

// StartPublishing has a node emit at a steady rate until stop is called, which waits for the results.
func StartPublishing(t *testing.T, n *Node, h *checker.History, publisher, perSecond int) (stop func()) {
	t.Helper()
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		batch := max(perSecond/5, 1)
		for first := 0; ; first += batch {
			select {
			case <-quit:
				return
			default:
			}
			p := Publication{Publisher: publisher, First: first, Count: batch, Targets: Targets(), PerSecond: perSecond}
			if o := n.Publish(t.Context(), h, p); o.Acknowledged != batch {
				t.Errorf("publish: %+v", o)
				return
			}
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { close(quit) }); wg.Wait() }
	t.Cleanup(stop)
	return stop
}
