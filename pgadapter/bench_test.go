package pgadapter

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A counter counts deliveries and stores when they arrived.
type counter struct {
	n    atomic.Int64
	took func(time.Duration) // of payloads that contain the time of Publish
}

func (c *counter) ID() string { return fmt.Sprintf("%p", c) }

func (c *counter) Deliver(ds []adapter.Delivery) {
	if c.took != nil {
		now := time.Now().UnixNano()
		for _, d := range ds {
			var sent int64
			if _, err := fmt.Sscan(string(d.Payload), &sent); err == nil {
				c.took(time.Duration(now - sent))
			}
		}
	}
	c.n.Add(int64(len(ds)))
}

func (c *counter) LogTruncated(adapter.Offset) {}

func (c *counter) LogGap(adapter.Offset, error) {}

func (b *bench) counted(tb testing.TB, opts Options) (*DB, *counter) {
	tb.Helper()
	opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	db := b.open(tb, &opts)
	c := &counter{}
	if _, err := db.Bind(c); err != nil {
		tb.Fatal(err)
	}
	return db, c
}

// quantiles reports the median and the 99th percentile.
func quantiles(b *testing.B, name string, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for q, label := range map[int]string{50: "p50", 99: "p99"} {
		b.ReportMetric(float64(took[len(took)*q/100].Microseconds()), "us-"+name+"-"+label)
	}
}

// BenchmarkPublish measures events that every node publishes without waiting for
// receipts, until every node has received all of them.
func BenchmarkPublish(b *testing.B) {
	for _, nodes := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			bench := newBench(b)
			var dbs []*DB
			var counters []*counter
			for range nodes {
				db, c := bench.counted(b, Options{})
				dbs, counters = append(dbs, db), append(counters, c)
			}
			payload := make([]byte, 200)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i, db := range dbs {
				n := b.N / nodes
				if i == 0 {
					n += b.N % nodes
				}
				wg.Go(func() {
					for range n {
						if _, err := db.Publish(b.Context(), &adapter.Envelope{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"room"}}, Payload: payload}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			for _, c := range counters {
				for c.n.Load() < int64(b.N) {
					time.Sleep(100 * time.Microsecond)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLatency measures from Publish on one node to Deliver on another, one
// event at a time, and for comparison a bare INSERT and NOTIFY to a listener.
func BenchmarkLatency(b *testing.B) {
	bench := newBench(b)
	from, _ := bench.counted(b, Options{})
	_, heard := bench.counted(b, Options{})
	took := make(chan time.Duration, 1)
	heard.took = func(d time.Duration) { took <- d }

	bench.exec(b, "create table bare (at timestamptz default clock_timestamp(), payload bytea)")
	listener, inserter := bench.connect(b), bench.connect(b)
	if _, err := listener.Exec(b.Context(), "listen bare"); err != nil {
		b.Fatal(err)
	}
	var events, bare []time.Duration
	for b.Loop() {
		begun := time.Now()
		r, err := from.Publish(b.Context(), &adapter.Envelope{Payload: fmt.Append(nil, begun.UnixNano())})
		if err == nil {
			err = r.Wait(b.Context()) // a caller waits, so the event does not linger
		}
		if err != nil {
			b.Fatal(err)
		}
		events = append(events, <-took)
		bare = append(bare, bareRoundTrip(b, inserter, listener))
	}
	quantiles(b, "event", events)
	quantiles(b, "bare", bare)
}

func bareRoundTrip(b *testing.B, inserter, listener *pgx.Conn) time.Duration {
	b.Helper()
	begun := time.Now()
	done := make(chan error, 1)
	go func() { // ends with its statement
		_, err := inserter.Exec(context.Background(), "with n as (select pg_notify('bare', '')) insert into bare (payload) select '\\x00' from n")
		done <- err
	}()
	if _, err := listener.WaitForNotification(b.Context()); err != nil {
		b.Fatal(err)
	}
	took := time.Since(begun)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// BenchmarkRotation measures appends and their delivery under a steady load, with a
// rotation of the log each second and with none.
func BenchmarkRotation(b *testing.B) {
	for name, every := range map[string]time.Duration{"none": 0, "each-second": time.Second} {
		b.Run(name, func(b *testing.B) {
			bench := newBench(b)
			db, c := bench.counted(b, Options{Retention: time.Hour})
			var mu sync.Mutex
			var delivered []time.Duration
			c.took = func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				delivered = append(delivered, d)
			}
			ctx, stop := context.WithCancel(b.Context())
			var rotations sync.WaitGroup
			var done atomic.Int64
			if every > 0 {
				conn := bench.connect(b)
				rotations.Go(func() { rotateEach(ctx, conn, every, &done) })
			}
			var appended []time.Duration
			padding := string(make([]byte, 2000))
			for b.Loop() {
				begun := time.Now()
				r, err := db.Publish(b.Context(), &adapter.Envelope{Payload: fmt.Append(nil, begun.UnixNano(), padding)})
				if err != nil {
					b.Fatal(err)
				}
				if err := r.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
				appended = append(appended, time.Since(begun))
			}
			if err := db.WaitDelivered(b.Context()); err != nil {
				b.Fatal(err)
			}
			stop()
			rotations.Wait()
			quantiles(b, "append", appended)
			quantiles(b, "deliver", delivered)
			b.ReportMetric(float64(slices.Max(appended).Microseconds()), "us-append-max")
			b.ReportMetric(float64(done.Load()), "rotations")
		})
	}
}

func rotateEach(ctx context.Context, conn *pgx.Conn, every time.Duration, done *atomic.Int64) {
	for ticker := time.NewTicker(every); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			ticker.Stop()
			return
		}
		var empty, switched bool
		err := conn.QueryRow(ctx, "select empty_slot('0')").Scan(&empty)
		if err == nil && empty && conn.QueryRow(ctx, "select switch_slot('0')").Scan(&switched) == nil && switched {
			done.Add(1)
		}
	}
}

// BenchmarkResume measures sessions that all return to another node at once.
func BenchmarkResume(b *testing.B) {
	bench := newBench(b)
	a, _ := bench.counted(b, Options{})
	other, _ := bench.counted(b, Options{})
	each(b, func(i int) error {
		s := session(fmt.Sprint(i))
		s.Rooms = []recovery.RoomInterval{{Room: "a", Joined: 1}, {Room: "b", Joined: 1}}
		return a.Sessions().Open(s).Wait(b.Context())
	})
	opened := b.Elapsed()
	b.ResetTimer()
	each(b, func(i int) error {
		_, err := other.Sessions().Resume(b.Context(), recovery.ResumeRequest{PIDHash: fmt.Sprint(i), Namespace: "/"})
		return err
	})
	b.ReportMetric(float64(b.N)/opened.Seconds(), "opens/s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "resumes/s")
}

// each runs do for every iteration of the benchmark, concurrently.
func each(b *testing.B, do func(i int) error) {
	b.Helper()
	var wg sync.WaitGroup
	for i := range b.N {
		wg.Go(func() {
			if err := do(i); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}
