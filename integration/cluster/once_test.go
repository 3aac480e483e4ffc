//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/harness"
)

// TestOnce_EveryOrderPlacedOnce: official clients with the option retries place orders, while their connections are
// cut, nodes are killed, and connections to Postgres are terminated. Faults that are planted in the handler are detected.
func TestOnce_EveryOrderPlacedOnce(t *testing.T) {
	for _, how := range []string{"once", "separate", "unkeyed"} {
		t.Run(how, func(t *testing.T) {
			wrong := placeOrders(t, how)
			switch {
			case how == "once" && len(wrong) > 0:
				t.Errorf("%d faults: %.2000q", len(wrong), wrong)
			case how != "once" && len(wrong) == 0:
				t.Error("the planted fault was not detected")
			default:
				t.Logf("%d faults: %.300q", len(wrong), wrong)
			}
		})
	}
}

const (
	buyers       = 16
	ordersOfEach = 80
)

// A placedOrder is an order as its client knows it, and its answer.
type placedOrder struct {
	key    string
	answer <-chan harness.Report
	token  string
	err    string
}

// placeOrders returns what went wrong with the orders.
func placeOrders(t *testing.T, how string) (wrong []string) {
	t.Helper()
	rng := harness.NewRand(harness.Seed(t))
	cl := harness.NewCluster(t, 3, "-lease", "3s", "-orders", how)
	conn := cl.Connect()
	if _, err := conn.Exec(t.Context(), "set search_path = "+pgx.Identifier{cl.Schema}.Sanitize()+`;
		create table orders (id bigint generated always as identity, key text, token text);
		create table requests (key text);
		create table claimed (key text primary key)`); err != nil {
		t.Fatal(err)
	}
	cs := harness.NewClients(t, 2)
	cs.ConnectAll(buyers, cl.RunningURLs(), harness.Command{
		"roam": true, "opts": map[string]any{"retries": 10, "ackTimeout": 5000},
	})
	orders := make([]*placedOrder, 0, buyers*ordersOfEach)
	answered := make(chan struct{}, buyers*ordersOfEach)
	var clients sync.WaitGroup
	for k := range buyers {
		for i := range ordersOfEach {
			o := &placedOrder{key: fmt.Sprintf("%d-%d", k, i)}
			o.answer = cs.CallAsync(k, "order", map[string]any{"client": fmt.Sprint(k), "key": o.key, "finish": k%2 == 0})
			orders = append(orders, o)
		}
		mine := orders[k*ordersOfEach:]
		clients.Go(func() {
			for _, o := range mine { // a client sends them one after the other
				o.wait()
				answered <- struct{}{}
			}
		})
	}
	ctx, done := context.WithCancel(t.Context())
	var faults sync.WaitGroup
	faults.Go(func() { disturb(ctx, rng, cl, cs, answered) })
	clients.Wait()
	done()
	faults.Wait()
	cs.Await(harness.MaxWait, "all clients are back", cs.AllConnectedLocked)
	return append(checkOrders(t, conn, orders), checkEvents(t, conn, cs)...)
}

// wait waits for the answer.
func (o *placedOrder) wait() {
	select {
	case r := <-o.answer:
		var got struct {
			Token string
			Error any
		}
		switch {
		case r.Error != "":
			o.err = r.Error
		case len(r.Args) != 1 || json.Unmarshal(r.Args[0], &got) != nil || got.Token == "":
			o.err = fmt.Sprintf("answer %s", r.Args)
		}
		o.token = got.Token
	case <-time.After(harness.MaxWait):
		o.err = "no answer"
	}
}

// disturb cuts connections and kills nodes until ctx ends. Between two cuts the clients get some answers, however slow
// the machine is: a client gives an order up after ten repetitions.
func disturb(ctx context.Context, rng *rand.Rand, cl *harness.Cluster, cs *harness.Clients, answered <-chan struct{}) {
	conn := cl.Connect()
	for round := 1; ctx.Err() == nil; round++ {
		for i, how := range []string{"reset", "close", "half"} {
			cs.Cut(how, nil, rng.Perm(buyers)[:buyers/8+i%2]...)
			for range buyers {
				select {
				case <-answered:
				case <-ctx.Done():
					return
				}
			}
		}
		if round%2 == 0 {
			cl.Terminate(ctx, conn, "pool")
		}
		if victim := cl.Nodes[len(cl.Nodes)-1-rng.IntN(3)]; round%4 == 0 && !victim.Down {
			victim.Down = true // first, so that no client chooses it
			cs.SetNodes(cl.RunningURLs())
			victim.Kill()
			cl.Start()
			cs.SetNodes(cl.RunningURLs())
		}
	}
}

// checkOrders compares the table of orders with what the clients know.
func checkOrders(t *testing.T, conn *pgx.Conn, orders []*placedOrder) (wrong []string) {
	t.Helper()
	tokens := make(map[string][]string)
	var key, token string
	rows, err := conn.Query(t.Context(), "select key, token from orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.ForEachRow(rows, []any{&key, &token}, func() error {
		tokens[key] = append(tokens[key], token)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, o := range orders {
		switch rows := tokens[o.key]; {
		case len(rows) != 1:
			wrong = append(wrong, fmt.Sprintf("order %s placed %d times", o.key, len(rows)))
		case o.err != "":
			wrong = append(wrong, fmt.Sprintf("order %s: %s", o.key, o.err))
		case o.token != rows[0]:
			wrong = append(wrong, fmt.Sprintf("order %s: answer %s, placed as %s", o.key, o.token, rows[0]))
		}
	}
	var requests, again int
	if err := conn.QueryRow(t.Context(), "select count(*), count(*) - count(distinct key) from requests").Scan(&requests, &again); err != nil {
		t.Fatal(err)
	}
	t.Logf("SUMMARY %s: %d orders, %d requests, of which %d repeated", t.Name(), len(orders), requests, again)
	if again < len(orders)/100 {
		t.Error("the faults caused too few repetitions")
	}
	return wrong
}

// checkEvents compares the events that each client received with the orders.
func checkEvents(t *testing.T, conn *pgx.Conn, cs *harness.Clients) (wrong []string) {
	t.Helper()
	keys, err := conn.Query(t.Context(), "select key from orders")
	if err != nil {
		t.Fatal(err)
	}
	placed, err := pgx.CollectRows(keys, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if err := cs.WaitFor(harness.MaxWait, func() bool {
		for _, k := range cs.ByNumber {
			if len(k.Events) < len(placed) {
				return false
			}
		}
		return true
	}); err != nil {
		wrong = append(wrong, "events are missing: "+err.Error())
	}
	want := make(map[string]int)
	for _, key := range placed {
		want[key]++
	}
	for _, k := range cs.Numbers() {
		got := make(map[string]int)
		for _, e := range cs.Get(k).Events {
			var key string
			if e.Event == "placed" && json.Unmarshal(e.Args[0], &key) == nil {
				got[key]++
			}
		}
		for key, n := range want {
			if got[key] != n {
				wrong = append(wrong, fmt.Sprintf("client %d received the event of order %s %d times, not %d", k, key, got[key], n))
			}
		}
		if len(got) != len(want) {
			wrong = append(wrong, fmt.Sprintf("client %d received events of %d orders, of %d", k, len(got), len(want)))
		}
	}
	return wrong
}
