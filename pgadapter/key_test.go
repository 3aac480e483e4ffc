package pgadapter

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A keyed is a connection that emits with keys.
type keyed struct{ *pgx.Conn }

func (k keyed) emit(t testing.TB, event, key string) bool {
	t.Helper()
	var ok bool
	if err := k.QueryRow(t.Context(), "select emit_all($1, key => $2)", event, key).Scan(&ok); err != nil {
		t.Errorf("emit %s with the key %s: %v", event, key, err)
	}
	return ok
}

// waiting returns the result of an emit that waits for another transaction.
func (k keyed) waiting(t testing.TB, b *bench, event, key string) <-chan bool {
	t.Helper()
	told := make(chan bool, 1)
	pid := k.PgConn().PID()
	go func() { told <- k.emit(t, event, key) }() // received by every caller
	eventually(t, event+" waits", func() bool {
		return b.int(t, "select count(*) from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'", pid) == 1
	})
	return told
}

func TestKey_UsedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one, two := keyed{b.connect(t)}, keyed{b.connect(t)}

	execOn(t, one.Conn, "begin")
	if !one.emit(t, "rolled back", "k") || one.emit(t, "again in it", "k") {
		t.Error("the first emit of a transaction returned false, or the second one true")
	}
	told := two.waiting(t, b, "after a rollback", "k")
	execOn(t, one.Conn, "rollback")
	if !<-told {
		t.Error("a rolled-back transaction used up its key")
	}

	execOn(t, one.Conn, "begin")
	if !one.emit(t, "committed", "l") {
		t.Error("a new key was used")
	}
	told = two.waiting(t, b, "after a commit", "l")
	execOn(t, one.Conn, "commit")
	if <-told {
		t.Error("both emits returned true")
	}

	execOn(t, one.Conn, "begin", "savepoint s")
	one.emit(t, "behind a savepoint", "m")
	execOn(t, one.Conn, "rollback to s")
	if !two.emit(t, "no longer used", "m") {
		t.Error("a rolled-back savepoint used up its key")
	}
	execOn(t, one.Conn, "commit")
	b.relay(t)
	if one.emit(t, "late", "l") {
		t.Error("emitted again after the relay")
	}
	b.relay(t)
	wantLogged(t, b, `["after a rollback"]`, `["committed"]`, `["no longer used"]`)
}

// TestKey_ConcurrentUse_OneTrue: under load, of the committed transactions exactly one
// emit per key returns true.
func TestKey_ConcurrentUse_OneTrue(t *testing.T) {
	t.Parallel()
	const workers, keys = 8, 40
	b := newBench(t)
	var told [keys]atomic.Int32
	var all sync.WaitGroup
	for w := range workers {
		k := keyed{b.connect(t)}
		all.Go(func() {
			for i := range keys {
				end := "commit"
				if (i+w)%3 == 0 {
					end = "rollback"
				}
				_, err := k.Exec(t.Context(), "begin")
				if k.emit(t, fmt.Sprint(i), fmt.Sprint(i)) && end == "commit" {
					told[i].Add(1)
				}
				if _, again := k.Exec(t.Context(), end); err != nil || again != nil {
					t.Error(err, again)
				}
			}
		})
	}
	all.Wait()
	b.relay(t)

	var want []string
	for i := range keys {
		want = append(want, fmt.Sprintf(`["%d"]`, i))
		if n := told[i].Load(); n != 1 {
			t.Errorf("key %d: %d emits returned true", i, n)
		}
	}
	got := b.logged(t)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("log has %q", got)
	}
}

func TestKey_WaitWithoutAnswer_Error(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one, two := keyed{b.connect(t)}, b.connect(t)
	execOn(t, one.Conn, "begin")
	one.emit(t, "x", "k")

	execOn(t, two, "set lock_timeout = '20ms'")
	if _, err := two.Exec(t.Context(), "select emit_all('y', key => 'k')"); sqlState(err) != "55P03" {
		t.Errorf("longer than lock_timeout: %v", err)
	}
	execOn(t, two, "set lock_timeout = 0", "begin isolation level repeatable read", "select 1")
	execOn(t, one.Conn, "commit")
	if _, err := two.Exec(t.Context(), "select emit_all('y', key => 'k')"); sqlState(err) != "40001" {
		t.Errorf("used since the snapshot: %v", err)
	}
}

func TestKey_ExpiresAfterRetention(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := keyed{b.conn}
	k.emit(t, "one", "k")
	rotate := func() {
		t.Helper()
		b.exec(t, "update meta set keys_at = keys_at - interval '11 s'")
		b.exec(t, "select rotate_outbox('10 s')")
	}
	rotate()
	if k.emit(t, "two", "k") {
		t.Error("key deleted within the retention")
	}
	b.exec(t, "update emit_keys set at = at - interval '11 s'")
	rotate()
	if !k.emit(t, "three", "k") {
		t.Error("key not deleted")
	}
	b.relay(t)
	wantLogged(t, b, `["one"]`, `["three"]`)
}
