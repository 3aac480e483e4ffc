package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A soakRecorder records sizes and latencies of a soak.
type soakRecorder struct {
	conn *pgx.Conn
	wal  int64

	sizes   []map[string]int64 // of each minute: the largest size of each part
	counts  map[string]int64   // of the current minute
	turns   []time.Time        // when a partition was emptied or switched
	turning string

	mu      sync.Mutex
	appends []soakAppend
}

type soakAppend struct {
	began time.Time
	took  time.Duration
}

func newSoakRecorder(ctx context.Context, sibling *pgx.Conn) (*soakRecorder, error) {
	config := sibling.Config().Copy()
	conn, err := pgx.ConnectConfig(ctx, config)
	return &soakRecorder{conn: conn, counts: make(map[string]int64)}, err
}

func (b *soakRecorder) close(ctx context.Context) { _ = b.conn.Close(ctx) }

// appended records when a burst was emitted, and how long it took to append.
func (b *soakRecorder) appended(began time.Time, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.appends = append(b.appends, soakAppend{began, took})
}

// run observes the partitions all the time and sizes every five seconds, and prints a line per minute.
func (b *soakRecorder) run(ctx context.Context, s *soak) {
	fmt.Println("| minute | schema KiB | dead rows | WAL MiB | RSS MiB | heap MiB | goroutines | append p50 / p99 / max ms | " +
		"within a second of a turn: appends, p99, max ms | events | received | came | came back: recovered | failed |")
	fmt.Println("|" + strings.Repeat("---|", 14))
	began := time.Now()
	n := 0
	asking := context.WithoutCancel(ctx) // cancellation would break the connection
	every(ctx, 50*time.Millisecond, func() {
		if err := b.watch(asking); err != nil {
			s.fail(ctx, err)
		}
		if n++; n%100 == 0 {
			if err := b.measure(asking); err != nil {
				s.fail(ctx, err)
			}
		}
		if minute := int(time.Since(began) / time.Minute); minute > len(b.sizes) {
			b.endMinute(asking, s, minute)
		}
	})
}

// watch records when a partition was emptied or switched.
func (b *soakRecorder) watch(ctx context.Context) error {
	var state string
	err := b.conn.QueryRow(ctx, "select concat_ws(' ', low, slot, outbox_slot) from meta").Scan(&state)
	if err != nil {
		return err
	}
	if b.turning != "" && state != b.turning {
		b.turns = append(b.turns, time.Now())
	}
	b.turning = state
	return nil
}

// parts are everything with a size in the schema: tables with indexes and TOAST. The log and the
// outbox have three partitions that fill in turn, so each counts as a whole.
const parts = `
with relation as (
    select c.oid, regexp_replace(c.relname, '_[012]($|_)', '\1') as name, c.oid as part from pg_class c
    where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'i')
    union all
    select t.oid, regexp_replace(c.relname, '_[012]$', '') || ' (toast)', c.reltoastrelid
    from pg_class c join pg_class t on t.oid = c.reltoastrelid
    where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r'
)
select name, sum(pg_table_size(oid))::bigint from relation group by name`

// measure records the sizes, if they are the largest in this minute.
func (b *soakRecorder) measure(ctx context.Context) error {
	rows, err := b.conn.Query(ctx, parts)
	if err != nil {
		return err
	}
	var name string
	var size int64
	_, err = pgx.ForEachRow(rows, []any{&name, &size}, func() error {
		b.counts[name] = max(b.counts[name], size)
		return nil
	})
	return err
}

// endMinute ends a minute.
func (b *soakRecorder) endMinute(ctx context.Context, s *soak, minute int) {
	var dead, wal int64
	err := b.conn.QueryRow(ctx, "select sum(n_dead_tup)::bigint, (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint "+
		"from pg_stat_user_tables where schemaname = current_schema()").Scan(&dead, &wal)
	if err != nil {
		s.fail(ctx, err)
	}
	written := wal - b.wal
	b.wal = wal
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	total := int64(0)
	for _, size := range b.counts {
		total += size
	}
	b.counts["heap of the process"], b.counts["resident set of the process"] = int64(mem.HeapAlloc), resident()
	b.counts["dead rows"], b.counts["goroutines"] = dead, int64(runtime.NumGoroutine())

	all, near := b.latencies()
	fmt.Printf("| %d | %d | %d | %.1f | %d | %d | %d | %.1f / %.1f / %.1f | %d, %.1f, %.1f | %d | %d | %d | %d: %d | %d |\n",
		minute, total>>10, dead, float64(written)/(1<<20), b.counts["resident set of the process"]>>20, mem.HeapAlloc>>20, runtime.NumGoroutine(),
		milli(all, 50), milli(all, 99), milli(all, 100), len(near), milli(near, 99), milli(near, 100),
		s.emitted.Load(), s.received.Load(), s.came.Load(), s.back.Load(), s.recovered.Load(), s.failed.Load())
	b.sizes = append(b.sizes, b.counts)
	b.counts = make(map[string]int64)
}

// latencies returns how long the appends of the minute took: all, and those that began within half a second of a
// switch of partitions.
func (b *soakRecorder) latencies() (all, near []time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.appends {
		all = append(all, a.took)
		if slices.ContainsFunc(b.turns, func(t time.Time) bool { return a.began.Sub(t).Abs() < time.Second/2 }) {
			near = append(near, a.took)
		}
	}
	b.appends, b.turns = nil, nil
	slices.Sort(all)
	slices.Sort(near)
	return all, near
}

// milli returns a percentile of sorted times in milliseconds.
func milli(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Seconds() * 1e3
}

// resident returns the resident memory of this process.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // not Linux
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// check compares the last third with the one before: nothing may grow by a fifth, and small sizes by a few pages or
// rows.
func (b *soakRecorder) check() error {
	third := len(b.sizes) / 3
	if third == 0 {
		return errors.New("a soak takes at least three minutes")
	}
	first, middle, last := b.sizes[:third], b.sizes[third:2*third], b.sizes[2*third:]
	names := make(map[string]bool)
	for _, minute := range b.sizes {
		for name := range minute {
			names[name] = true
		}
	}
	var grown []error
	fmt.Printf("\n| %d minutes | largest in the first third | in the second | in the last | |\n|---|---|---|---|---|\n", len(b.sizes))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, after := largest(middle, name), largest(last, name)
		result := ""
		if allowed := before + before/5 + allowance(name); after > allowed {
			result = "grows"
			grown = append(grown, fmt.Errorf("%s grew from %d to %d", name, before, after))
		}
		fmt.Printf("| %s | %d | %d | %d | %s |\n", name, largest(first, name), before, after, result)
	}
	return errors.Join(grown...)
}

// allowance returns the growth of a number that is due to chance.
func allowance(name string) int64 {
	switch name {
	case "goroutines":
		return 50
	case "dead rows":
		return 5000
	}
	return 64 << 10
}

func largest(minutes []map[string]int64, name string) int64 {
	most := int64(0)
	for _, minute := range minutes {
		most = max(most, minute[name])
	}
	return most
}
