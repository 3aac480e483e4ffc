package pgadapter

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/internal/pgserver"
)

// A shop takes orders: Once with a table of the application.
type shop struct {
	*bench
	pool *pgxpool.Pool
	opts OnceOptions
	runs atomic.Int64 // of the function
}

type placed struct {
	Order int64 `json:"order"`
}

// newShop opens a shop. Its connections are made with what change makes of their configuration.
func newShop(t *testing.T, b *bench, change func(*pgxpool.Config)) *shop {
	t.Helper()
	b.exec(t, "create table if not exists orders (id bigint generated always as identity, key text)")
	config, err := pgxpool.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 16
	if change != nil {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &shop{bench: b, pool: pool, opts: OnceOptions{Schema: b.schema}}
}

func keyOf(key string) OnceKey { return OnceKey{Client: "user-7", Event: "order", Key: key} }

// insert inserts an order in a transaction of Once and emits an event.
func (s *shop) insert(ctx context.Context, tx pgx.Tx, key string) (p placed, err error) {
	s.runs.Add(1)
	err = tx.QueryRow(ctx, "insert into "+quoted(s.schema)+".orders (key) values ($1) returning id", key).Scan(&p.Order)
	if err == nil {
		_, err = EmitTx(ctx, tx, adaptertest.Event(`["%s"]`, key), &EmitOptions{Schema: s.schema})
	}
	return p, err
}

func (s *shop) place(ctx context.Context, key string) (placed, error) {
	return Once(ctx, s.pool, keyOf(key), &s.opts, func(tx pgx.Tx) (placed, error) { return s.insert(ctx, tx, key) })
}

// want checks that there are as many orders and events, and runs of the function unless that is 0.
func (s *shop) want(t *testing.T, orders, runs int64) {
	t.Helper()
	if n := s.int(t, "select count(*) from orders"); n != orders {
		t.Errorf("%d orders, want %d", n, orders)
	}
	s.relay(t)
	if n := s.logged(t); int64(len(n)) != orders {
		t.Errorf("events %q, want %d", n, orders)
	}
	if n := s.runs.Load(); runs != 0 && n != runs {
		t.Errorf("the function ran %d times, want %d", n, runs)
	}
}

// started runs f in a goroutine and returns its result.
func started(f func() (placed, error)) <-chan result {
	done := make(chan result, 1)
	go func() { // ends with f; every caller receives
		p, err := f()
		done <- result{p, err}
	}()
	return done
}

type result struct {
	placed placed
	err    error
}

// waits waits until n sessions wait for the end of another one's transaction.
func (s *shop) waits(t *testing.T, n int64) {
	t.Helper()
	eventually(t, "requests wait", func() bool {
		return s.int(t, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%' || $1 || '%claim_request%'", s.schema) >= n
	})
}

var levels = []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable}

func TestOnce_Concurrent_EffectsOnce(t *testing.T) {
	t.Parallel()
	for _, level := range levels {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			s := newShop(t, newBench(t), nil)
			s.opts.Isolation = level
			const keys, clients = 3, 64
			var all sync.WaitGroup
			var answers [keys][clients]placed
			for k := range keys {
				for c := range clients {
					all.Go(func() {
						var err error
						if answers[k][c], err = s.place(t.Context(), fmt.Sprint(k)); err != nil {
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
			for k := range keys {
				for _, a := range answers[k] {
					if a != answers[k][0] || a.Order == 0 {
						t.Fatalf("answers %v", answers[k])
					}
				}
			}
			if level == sql.LevelReadCommitted || level == sql.LevelRepeatableRead {
				s.want(t, keys, keys)
			} else {
				s.want(t, keys, 0) // a serialization failure runs the function again; the default may be serializable
			}
		})
	}
}

// A repetition that waits gets the answer of a transaction that commits, and has the effects after one that does not.
func TestOnce_Waiting_TakesTheAnswerOrRuns(t *testing.T) {
	t.Parallel()
	errSoldOut := errors.New("sold out")
	for _, level := range levels {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/fails=%v", level, fails), func(t *testing.T) {
				t.Parallel()
				s := newShop(t, newBench(t), nil)
				s.opts.Isolation = level
				running, end := make(chan struct{}), make(chan struct{})
				first := started(func() (placed, error) {
					return Once(t.Context(), s.pool, keyOf("k"), &s.opts, func(tx pgx.Tx) (placed, error) {
						p, err := s.insert(t.Context(), tx, "k")
						close(running)
						<-end
						if fails {
							err = errSoldOut
						}
						return p, err
					})
				})
				<-running
				second := started(func() (placed, error) { return s.place(t.Context(), "k") })
				s.waits(t, 1)
				close(end)
				one, two := <-first, <-second
				if fails {
					if !errors.Is(one.err, errSoldOut) || two.err != nil || two.placed.Order == 0 {
						t.Errorf("%v, %v", one, two)
					}
					s.want(t, 1, 2)
					return
				}
				if one.err != nil || two.err != nil || one.placed != two.placed {
					t.Errorf("%v, %v", one, two)
				}
				s.want(t, 1, 1)
			})
		}
	}
}

func TestOnce_Panic_RollsBack(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	func() {
		defer func() {
			if v := recover(); v != "oh" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, _ = Once(t.Context(), s.pool, keyOf("k"), &s.opts, func(tx pgx.Tx) (placed, error) {
			_, _ = s.insert(t.Context(), tx, "k")
			panic("oh")
		})
	}()
	if _, err := s.place(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	s.want(t, 1, 2)
	if n := s.pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are not released", n)
	}
}

// A lossyConn loses its connection at a COMMIT: before Postgres gets it, or when Postgres has answered.
type lossyConn struct {
	net.Conn
	before, after *atomic.Bool // armed, for one COMMIT
	lost          atomic.Bool
}

func (c *lossyConn) Write(p []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(p), []byte("commit\x00")) {
		if c.before.CompareAndSwap(true, false) {
			_ = c.Close()
			return 0, net.ErrClosed
		}
		c.lost.Store(c.after.CompareAndSwap(true, false))
	}
	return c.Conn.Write(p)
}

func (c *lossyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.lost.Load() {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestOnce_CommitWithoutAnswer_EffectsOnce(t *testing.T) {
	t.Parallel()
	for _, level := range levels {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			var before, after atomic.Bool
			s := newShop(t, newBench(t), func(c *pgxpool.Config) {
				dial := c.ConnConfig.DialFunc
				c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := dial(ctx, network, addr)
					return &lossyConn{Conn: conn, before: &before, after: &after}, err
				}
			})
			s.opts.Isolation = level
			after.Store(true)
			one, err := s.place(t.Context(), "committed")
			if err != nil || after.Load() {
				t.Fatalf("%v, %v, still armed %v", one, err, after.Load())
			}
			s.want(t, 1, 1)

			before.Store(true)
			two, err := s.place(t.Context(), "rolled back")
			if err != nil || before.Load() {
				t.Fatalf("%v, %v, still armed %v", two, err, before.Load())
			}
			s.want(t, 2, 3)
			for key, was := range map[string]placed{"committed": one, "rolled back": two} {
				if again, err := s.place(t.Context(), key); err != nil || again != was {
					t.Errorf("repeated: %v, %v, want %v", again, err, was)
				}
			}
		})
	}
}

// The connection of a request is terminated while its function runs, which returns the error of its statement.
func TestOnce_ConnectionLost_RunsAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	db := stdlib.OpenDBFromPool(s.pool)
	t.Cleanup(func() { _ = db.Close() })
	first := true
	terminate := func(pid uint32) {
		if first {
			s.exec(t, "select pg_terminate_backend($1, 60000)", pid)
			first = false
		}
	}
	if _, err := Once(t.Context(), s.pool, keyOf("pgx"), &s.opts, func(tx pgx.Tx) (placed, error) {
		terminate(tx.Conn().PgConn().PID())
		p, err := s.insert(t.Context(), tx, "pgx")
		if err != nil {
			err = errors.New("an error that tells nothing")
		}
		return p, err
	}); err != nil {
		t.Error(err)
	}
	s.want(t, 1, 2)

	first = true
	place := func() (p placed, err error) {
		return OnceSQL(t.Context(), db, keyOf("sql"), &s.opts, func(tx *sql.Tx) (p placed, err error) {
			s.runs.Add(1)
			var pid uint32
			if err := tx.QueryRow("select pg_backend_pid()").Scan(&pid); err != nil {
				return p, err
			}
			terminate(pid)
			if err := tx.QueryRow("insert into " + quoted(s.schema) + ".orders (key) values ('sql') returning id").Scan(&p.Order); err != nil {
				return p, errors.New("an error that tells nothing")
			}
			_, err = EmitTx(t.Context(), SQLTx(tx), adaptertest.Event(`["sql"]`), &EmitOptions{Schema: s.schema})
			return p, err
		})
	}
	one, err := place()
	two, again := place()
	if err != nil || again != nil || one != two {
		t.Errorf("%v, %v; %v, %v", one, err, two, again)
	}
	s.want(t, 2, 4)
}

func TestOnce_SerializationFailure_RunsAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	s.exec(t, "create table stock (n int)")
	s.exec(t, "insert into stock values (10)")
	s.opts.Isolation = sql.LevelRepeatableRead
	_, err := Once(t.Context(), s.pool, keyOf("k"), &s.opts, func(tx pgx.Tx) (placed, error) {
		if s.runs.Load() == 0 {
			s.exec(t, "update stock set n = n - 1") // after the snapshot of tx
		}
		if _, err := tx.Exec(t.Context(), "update "+quoted(s.schema)+".stock set n = n - 1"); err != nil {
			s.runs.Add(1)
			return placed{}, fmt.Errorf("take from the stock: %w", err)
		}
		return s.insert(t.Context(), tx, "k")
	})
	if err != nil {
		t.Error(err)
	}
	s.want(t, 1, 2)
	if n := s.int(t, "select n from stock"); n != 8 {
		t.Errorf("stock of %d", n)
	}
}

// Postgres ends the transaction of a node that is frozen, and a repetition at another node goes on.
func TestOnce_FrozenNode_DoesNotHoldUpTheRepetition(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	s.opts.MaxIdle = 100 * time.Millisecond
	running, thaw := make(chan struct{}), make(chan struct{})
	var frozen sync.Once
	first := started(func() (placed, error) {
		return Once(t.Context(), s.pool, keyOf("k"), &s.opts, func(tx pgx.Tx) (placed, error) {
			p, err := s.insert(t.Context(), tx, "k")
			frozen.Do(func() { close(running); <-thaw })
			return p, err
		})
	})
	<-running
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	two, err := s.place(ctx, "k")
	close(thaw)
	one := <-first
	if err != nil || one.err != nil || one.placed != two {
		t.Errorf("%v, %v; %v", two, err, one)
	}
	s.want(t, 1, 0) // a slow machine may be idle for as long

	var idle string
	if err := s.pool.QueryRow(t.Context(), "show idle_in_transaction_session_timeout").Scan(&idle); err != nil || idle == "100ms" {
		t.Errorf("the setting outlives the transaction: %q, %v", idle, err)
	}
}

func TestOnce_Keys(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	type order struct {
		Item  string
		Price map[string]int
	}
	content := order{"tea", map[string]int{"EUR": 3, "CHF": 4}}
	for _, c := range []struct {
		name  string
		key   OnceKey
		runs  int64
		wants error
	}{
		{"first", OnceKey{"ann", "order", "k", content}, 1, nil},
		{"repeated", OnceKey{"ann", "order", "k", order{"tea", map[string]int{"CHF": 4, "EUR": 3}}}, 0, nil},
		{"another content", OnceKey{"ann", "order", "k", order{"tea", map[string]int{"EUR": 3}}}, 0, ErrOnceContent},
		{"another client", OnceKey{"bob", "order", "k", content}, 1, nil},
		{"another event", OnceKey{"ann", "cancel", "k", content}, 1, nil},
		{"another key", OnceKey{"ann", "order", "l", content}, 1, nil},
		{"parts that join to the same text", OnceKey{"anno", "rder", "k", content}, 1, nil},
		{"no client", OnceKey{"", "order", "k", content}, 0, ErrOnceKey},
		{"no event", OnceKey{"ann", "", "k", content}, 0, ErrOnceKey},
		{"no key", OnceKey{"ann", "order", "", content}, 0, ErrOnceKey},
		{"a key that is too long", OnceKey{"ann", "order", strings.Repeat("k", 1001), content}, 0, ErrOnceKey},
		{"the longest key", OnceKey{"ann", "order", strings.Repeat("k", 1000), content}, 1, nil},
	} {
		before := s.runs.Load()
		p, err := Once(t.Context(), s.pool, c.key, &s.opts, func(tx pgx.Tx) (placed, error) { return s.insert(t.Context(), tx, c.name) })
		if !errors.Is(err, c.wants) || s.runs.Load()-before != c.runs || (p.Order != 0) != (err == nil) {
			t.Errorf("%s: %v, %v, %d runs; want %v and %d runs", c.name, p, err, s.runs.Load()-before, c.wants, c.runs)
		}
	}
	for _, opts := range []OnceOptions{{Isolation: sql.LevelLinearizable}, {Window: -1}, {MaxIdle: -1}, {Patience: -1}} {
		if _, err := Once(t.Context(), s.pool, keyOf("k"), &opts, func(tx pgx.Tx) (placed, error) { return placed{}, nil }); err == nil {
			t.Errorf("accepted %+v", opts)
		}
	}
	if _, err := Once(t.Context(), s.pool, keyOf("k"), &OnceOptions{Schema: "nowhere"}, func(pgx.Tx) (placed, error) { return placed{}, nil }); !errors.Is(err, ErrSchema) {
		t.Errorf("no schema: %v", err)
	}
}

// The seal of binary data differs between processes; texts that look like one stay as they are.
func TestOnceKey_Content_SameInEveryProcess(t *testing.T) {
	t.Parallel()
	sum := func(text string) string {
		t.Helper()
		k := keyOf("k")
		k.Content = map[string]any{"x": json.RawMessage(text)}
		_, content, err := k.hashes()
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if sum(`{"$binary":"AQ==","$seal":"abcdefghijklmnopqrstuv"}`) != sum(`{"$binary":"AQ==","$seal":"vutsrqponm-_jihgfedcba"}`) {
		t.Error("the seal is part of the content")
	}
	if sum(`{"$binary":"AQ==","$seal":"abcdefghijklmnopqrstuv"}`) == sum(`{"$binary":"Ag==","$seal":"abcdefghijklmnopqrstuv"}`) {
		t.Error("the data is not part of the content")
	}
	if sum(`"a,\"$seal\":\"b\""`) == sum(`"a"`) {
		t.Error("a text was cut")
	}
}

func TestOnce_AfterTheWindow_RunsAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := newShop(t, b, nil)
	s.opts.Window = time.Hour
	one, err := s.place(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.int(t, "select count(*) from answers where expires_at between now() + interval '59 min' and now() + interval '61 min'"); n != 1 {
		t.Error("the window does not begin with the answer")
	}
	s.exec(t, "update answers set expires_at = expires_at - interval '62 min'")
	two, err := s.place(t.Context(), "k")
	if err != nil || one == two {
		t.Errorf("after the window: %v, %v", two, err)
	}
	if again, err := s.place(t.Context(), "k"); err != nil || again != two {
		t.Errorf("the second window: %v, %v", again, err)
	}
	s.want(t, 2, 2)

	s.exec(t, `insert into answers (role, request, content, answer, expires_at)
		select 'x', sha256(n::text::bytea), sha256(''), '1', now() - interval '1 s' from generate_series(1, 2500) n`)
	db := b.open(t, nil)
	if _, err := db.pool.Exec(t.Context(), db.queries.sweepAnswers, forgetAtOnce); err != nil {
		t.Fatal(err)
	}
	if n := s.int(t, "select count(*) from answers"); n != 1501 {
		t.Errorf("%d answers after the first portion", n)
	}
	if err := db.sweeper.sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.int(t, "select count(*) from answers where role <> 'x'"); n != 1 || s.int(t, "select count(*) from answers") != 1 {
		t.Errorf("%d answers are left", n)
	}
}

// A function cannot end the transaction of Once, and if it does all the same, the request is not run a second time.
func TestOnce_FunctionEndsTheTransaction_Refused(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	db := stdlib.OpenDBFromPool(s.pool)
	t.Cleanup(func() { _ = db.Close() })
	for i, end := range []func(pgx.Tx) error{
		func(tx pgx.Tx) error { return tx.Commit(t.Context()) },
		func(tx pgx.Tx) error { return tx.Rollback(t.Context()) },
	} {
		_, err := Once(t.Context(), s.pool, keyOf(fmt.Sprint(i)), &s.opts, func(tx pgx.Tx) (placed, error) {
			if _, err := s.insert(t.Context(), tx, "never"); err != nil {
				return placed{}, err
			}
			return placed{}, end(tx)
		})
		if !errors.Is(err, errOnceEnded) {
			t.Errorf("%d: %v", i, err)
		}
	}
	s.want(t, 0, 2)

	commit := func() (placed, error) {
		return Once(t.Context(), s.pool, keyOf("text"), &s.opts, func(tx pgx.Tx) (p placed, err error) {
			if p, err = s.insert(t.Context(), tx, "k"); err == nil {
				_, err = tx.Exec(t.Context(), "commit")
			}
			return p, err
		})
	}
	commitSQL := func() (placed, error) {
		return OnceSQL(t.Context(), db, keyOf("sql"), &s.opts, func(tx *sql.Tx) (placed, error) {
			s.runs.Add(1)
			return placed{}, tx.Commit()
		})
	}
	for name, place := range map[string]func() (placed, error){"text": commit, "database/sql": commitSQL} {
		_, err := place()
		_, again := place()
		if !errors.Is(err, errOnceEnded) || !errors.Is(again, errNoAnswer) {
			t.Errorf("%s: %v, then %v", name, err, again)
		}
	}
	s.want(t, 1, 4)
}

// Savepoints of the function are its own.
func TestOnce_Savepoint(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	_, err := Once(t.Context(), s.pool, keyOf("k"), &s.opts, func(tx pgx.Tx) (p placed, err error) {
		undo := errors.New("undo")
		if err := pgx.BeginFunc(t.Context(), tx, func(tx pgx.Tx) error {
			_, err := s.insert(t.Context(), tx, "never")
			return errors.Join(err, undo)
		}); !errors.Is(err, undo) {
			return p, err
		}
		return p, pgx.BeginFunc(t.Context(), tx, func(tx pgx.Tx) error {
			p, err = s.insert(t.Context(), tx, "k")
			return err
		})
	})
	if err != nil {
		t.Error(err)
	}
	s.want(t, 1, 2)
}

func TestOnce_AnswerThatCannotBeStored_RollsBack(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	answer := func(v any) error {
		_, err := Once(t.Context(), s.pool, keyOf("k"), &s.opts, func(tx pgx.Tx) (any, error) {
			_, err := s.insert(t.Context(), tx, "k")
			return v, err
		})
		return err
	}
	if err := answer(strings.Repeat("x", maxAnswer)); !errors.Is(err, adapter.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if err := answer(func() {}); err == nil {
		t.Error("stored a function")
	}
	s.want(t, 0, 2)
	if err := answer(strings.Repeat("x", maxAnswer-2)); err != nil {
		t.Error(err)
	}
	if _, err := s.place(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), "not a pgadapter.placed") {
		t.Errorf("an answer of another type: %v", err)
	}
	s.want(t, 1, 3)

	_, err := Once(t.Context(), s.pool, keyOf("swallowed"), &s.opts, func(tx pgx.Tx) (placed, error) {
		_, _ = tx.Exec(t.Context(), "select 1/0")
		return placed{}, nil
	})
	if sqlState(err) != "25P02" {
		t.Errorf("a failed transaction: %v", err)
	}
}

func TestOnce_NoOutcome_ErrOutcomeUnknown(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	s.opts.Patience = 20 * time.Millisecond
	holder := s.connect(t)
	one, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request, content, err := (&OnceKey{Client: "user-7", Event: "order", Key: "k"}).hashes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Exec(t.Context(), "select claim_request($1, $2, 100000, 100000)", request, content); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := started(func() (placed, error) { return s.place(ctx, "k") })
	s.waits(t, 1)
	cancel()
	if got := <-waiting; !errors.Is(got.err, ErrOutcomeUnknown) || !errors.Is(got.err, context.Canceled) {
		t.Errorf("ctx ended: %v", got.err)
	}

	conn := s.connect(t)
	execOn(t, conn, "set lock_timeout = '5ms'")
	never := func(pgx.Tx) (placed, error) { return placed{}, errors.New("ran") }
	if _, err := Once(t.Context(), conn, keyOf("k"), &s.opts, never); !errors.Is(err, ErrOutcomeUnknown) || sqlStateOf(err) != "55P03" {
		t.Errorf("lock_timeout: %v", err)
	}
	_ = conn.Close(t.Context())
	s.opts.Patience = time.Hour
	if _, err := Once(t.Context(), conn, keyOf("k"), &s.opts, never); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("a closed connection: %v", err)
	}
	s.opts.Patience = 20 * time.Millisecond
	closed := newShop(t, s.bench, func(c *pgxpool.Config) {
		c.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }
	})
	closed.opts = s.opts
	if _, err := closed.place(t.Context(), "k"); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("no Postgres: %v", err)
	}
	if err := one.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.place(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	s.want(t, 1, 1)
}

// A role with allow_emit runs requests once, reads no answers, has keys of its own, and cannot fill the disk.
func TestOnce_Rights(t *testing.T) {
	t.Parallel()
	s := newShop(t, newBench(t), nil)
	c := s.connect(t)
	calm(t, s.conn, c)
	s.exec(t, "grant insert on orders to public")
	owner, err := s.place(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	s.become(t, c)
	insert := func(tx pgx.Tx) (string, error) {
		s.runs.Add(1)
		_, err := tx.Exec(t.Context(), "insert into "+quoted(s.schema)+".orders (key) values ('role')")
		return "of the role", err
	}
	for range 2 {
		if answer, err := Once(t.Context(), c, keyOf("k"), &s.opts, insert); err != nil || answer != "of the role" {
			t.Errorf("%v, %v", answer, err)
		}
	}
	if again, err := s.place(t.Context(), "k"); err != nil || again != owner || s.runs.Load() != 2 {
		t.Errorf("of the owner: %v, %v, %d runs", again, err, s.runs.Load())
	}
	if _, err := c.Exec(t.Context(), "select from answers"); sqlState(err) != "42501" {
		t.Errorf("reads the table: %v", err)
	}
	request, _, err := (&OnceKey{Client: "user-7", Event: "order", Key: "k"}).hashes()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // of the owner, and of an earlier transaction of its own
		var stored bool
		if err := c.QueryRow(t.Context(), "select answer_request($1, '{}', 1000)", request).Scan(&stored); err != nil || stored {
			t.Errorf("stored an answer outside of its transaction: %v, %v", stored, err)
		}
	}

	s.exec(t, "update meta set outbox_limit = 1000")
	if _, err := Once(t.Context(), c, keyOf("full"), &s.opts, insert); sqlState(err) != "53400" {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := s.place(t.Context(), "of the owner"); err != nil {
		t.Error(err)
	}
	execOn(t, c, "reset role")
	role := s.schema + "_emits"
	if _, err := Once(t.Context(), c, keyOf("local"), &s.opts, func(tx pgx.Tx) (string, error) {
		_, err := tx.Exec(t.Context(), "set local role "+quoted(role))
		return "x", err
	}); err != nil {
		t.Errorf("the function changes the role: %v", err)
	}
	s.exec(t, "revoke execute on all functions in schema "+quoted(s.schema)+" from "+quoted(role))
	execOn(t, c, "set role "+quoted(role))
	if _, err := Once(t.Context(), c, keyOf("k"), &s.opts, insert); !errors.Is(err, ErrSchema) {
		t.Errorf("without rights: %v", err)
	}
}

// BenchmarkOnce compares a transaction of one row with and without Once, and a repetition.
func BenchmarkOnce(b *testing.B) {
	s := &shop{bench: newBench(b)}
	s.opts.Schema = s.schema
	s.exec(b, "create table orders (id bigint generated always as identity, key text)")
	insert := func(tx pgx.Tx) (p placed, err error) {
		err = tx.QueryRow(b.Context(), "insert into orders (key) values ('k') returning id").Scan(&p.Order)
		return p, err
	}
	number := 0
	for name, place := range map[string]func() error{
		"bare": func() error {
			return pgx.BeginFunc(b.Context(), s.conn, func(tx pgx.Tx) error {
				_, err := insert(tx)
				return err
			})
		},
		"once": func() error {
			number++
			_, err := Once(b.Context(), s.conn, keyOf(fmt.Sprint(number)), &s.opts, insert)
			return err
		},
		"repeated": func() error {
			_, err := Once(b.Context(), s.conn, keyOf("k"), &s.opts, insert)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := place(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestOnce_TextResults: the pool of the application receives results as text, in a form that the server chooses.
func TestOnce_TextResults(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_describe"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			set := *b
			set.dsn = withParams(t, b.dsn, map[string]string{
				"default_query_exec_mode": mode, "bytea_output": "escape", "standard_conforming_strings": "on",
			})
			s := newShop(t, &set, nil)
			var answers [2]placed
			for i := range answers {
				var err error
				if answers[i], err = s.place(t.Context(), "k"); err != nil {
					t.Fatal(err)
				}
			}
			if answers[0] != answers[1] {
				t.Errorf("answers %v", answers)
			}
			s.want(t, 1, 1)
		})
	}
}

// TestOnce_PgBouncer: many clients of a pooler in transaction mode, and few connections to Postgres.
func TestOnce_PgBouncer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pooled := *b
	pooled.dsn = b.pooler(t, pgserver.PoolerOptions{Mode: "transaction", Size: 3})
	s := newShop(t, &pooled, nil)
	const keys, clients = 10, 8
	var all sync.WaitGroup
	var answers [keys][clients]placed
	for c := range clients {
		all.Go(func() {
			for k := range keys {
				var err error
				if answers[k][c], err = s.place(t.Context(), fmt.Sprint(k)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for k := range keys {
		for _, a := range answers[k] {
			if a != answers[k][0] {
				t.Errorf("answers %v", answers[k])
			}
		}
	}
	s.want(t, keys, keys)
}
