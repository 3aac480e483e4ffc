//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package clients_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// TestRecovery_EveryTransport cuts clients while they poll, or after an upgrade. They are recovered and miss nothing.
func TestRecovery_EveryTransport(t *testing.T) {
	for _, transports := range [][]string{{"websocket"}, {"polling"}, {"polling", "websocket"}} {
		t.Run(strings.Join(transports, " to "), func(t *testing.T) {
			cl := harness.NewCluster(t, 2)
			cs := harness.NewClients(t, 1)
			cs.ConnectAll(12, cl.RunningURLs(), harness.Command{"opts": harness.Command{"transports": transports}})
			cs.AwaitTransport(transports[len(transports)-1])
			cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 1, Count: 50})

			for k := range 12 {
				cs.CutAndHold([]string{"reset", "close", "half"}[k%3], k)
			}
			cl.Nodes[1].MustPublish(cs.History, harness.Publication{Publisher: 2, Count: 500})
			for k := range 12 {
				cs.Reconnect(cl.Nodes[k/3%2].URL, k) // each kind of cut at the same node and at another
			}
			cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 3, Count: 500}) // while they upgrade

			cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
			cs.Check()
			cs.CheckAllRecovered(12)
			cs.AwaitTransport(transports[len(transports)-1])
		})
	}
}

// TestConnect_BurstOverEveryTransport connects clients in bursts. SOCKETIO_BURST is their number, 4,000 by default;
// a tenth of them, at most 2,000, connect at once.
func TestConnect_BurstOverEveryTransport(t *testing.T) {
	total := 4000
	if text := os.Getenv("SOCKETIO_BURST"); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	burst := min(total/10, 2000)

	for name, connect := range map[string]func(context.Context, *http.Client, string) (end func(), err error){
		"websocket": burstWebSocket,
		"polling":   burstPoll,
	} {
		t.Run(name, func(t *testing.T) {
			node := harness.NewCluster(t, 1).Nodes[0]
			addr := strings.TrimPrefix(node.URL, "http://")
			web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: burst, MaxIdleConns: burst}}
			defer web.CloseIdleConnections()
			start, slowest := time.Now(), time.Duration(0)
			for range total / burst {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				errs, ends := make([]error, burst), make([]func(), burst)
				var wg sync.WaitGroup
				for i := range burst {
					wg.Go(func() { ends[i], errs[i] = connect(ctx, web, addr) })
				}
				wg.Wait()
				if err := errors.Join(errs...); err != nil {
					t.Fatalf("%.500s", err.Error())
				}
				slowest = max(slowest, time.Since(began))
				if !harness.Eventually(harness.MaxWait, func() bool { return len(node.Sockets()) == burst }) {
					t.Errorf("the node has %d sockets of %d", len(node.Sockets()), burst)
				}
				for _, end := range ends {
					wg.Go(end)
				}
				wg.Wait()
				if !harness.Eventually(harness.MaxWait, func() bool { return len(node.Sockets()) == 0 }) {
					t.Fatal("sockets remain")
				}
				cancel()
			}
			t.Logf("SUMMARY %s: %d clients, %d at a time, in %v; the slowest burst took %v to connect",
				t.Name(), total, burst, time.Since(start).Round(time.Millisecond), slowest.Round(time.Millisecond))
		})
	}
}

func burstWebSocket(ctx context.Context, _ *http.Client, addr string) (end func(), err error) {
	c := wire.New(wire.Options{})
	if err := c.Connect(ctx, addr); err != nil {
		return nil, err
	}
	return c.Close, nil
}

func burstPoll(ctx context.Context, web *http.Client, addr string) (end func(), err error) {
	p, err := wire.OpenPoll(ctx, web, addr)
	if err != nil {
		return nil, err
	}
	if err := p.Send(ctx, "40"); err != nil {
		return nil, err
	}
	packets, err := p.Next(ctx)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(packets[0], "40{") {
		return nil, fmt.Errorf("got %q", packets)
	}
	return func() { _ = p.Send(ctx, "1") }, nil
}
