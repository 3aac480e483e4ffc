package pgadapter_test

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgadapter"
)

type Invoice struct {
	ID    int `json:"id"`
	Total int `json:"total"`
}

// Paid is the event for all programs that emit it, from Go or SQL.
const Paid socketio.Event[Invoice] = "invoice:paid"

// Either the invoice is paid and the user's browsers receive the event, or neither
// happens. The job may run again: the key makes the event happen once.
func ExampleEmitTx() { //nolint:testableexamples // it needs a database; TestEmitTx has one
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://localhost/shop")
	if err != nil {
		log.Fatal(err)
	}
	io := socketio.NewServer(nil) // names the audience; no client connects to it

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "update invoices set paid = true where id = 81"); err != nil {
			return err
		}
		e, err := Paid.Envelope(io.To("user:7").Except("muted"), Invoice{ID: 81, Total: 1200})
		if err != nil {
			return err
		}
		emitted, err := pgadapter.EmitTx(ctx, tx, e, &pgadapter.EmitOptions{Key: "invoice-paid-81"})
		if err == nil && !emitted {
			log.Print("emitted before")
		}
		return err
	})
	if err != nil {
		log.Print(err)
	}
}

type Order struct {
	Key  string `json:"key"` // crypto.randomUUID() of the page, the same in each repetition
	Item string `json:"item"`
}

type Placed struct {
	Number int `json:"number"`
}

// Place is a request whose effects happen once.
const Place socketio.Request[Order, Placed] = "order:place"

// The official client sends a request again until it has an answer, with io(url, { retries: 10, ackTimeout: 5000 }). The order is
// placed once, and each repetition gets its number.
func ExampleOnce() { //nolint:testableexamples // it needs a database; TestOnce_EveryOrderPlacedOnce of package cluster has one
	handle := func(io *socketio.Server, pool *pgxpool.Pool) {
		Place.On(io, func(ctx context.Context, s *socketio.Socket, o Order) (Placed, error) {
			key := pgadapter.OnceKey{Client: s.Identity(), Event: string(Place), Key: o.Key, Content: o}
			placed, err := pgadapter.Once(ctx, pool, key, nil, func(tx pgx.Tx) (p Placed, err error) {
				err = tx.QueryRow(ctx, "insert into orders (user_id, item) values ($1, $2) returning number", s.Identity(), o.Item).Scan(&p.Number)
				if err != nil {
					return p, err
				}
				e, err := Paid.Envelope(io.To("cashiers"), Invoice{ID: p.Number, Total: 1200})
				if err != nil {
					return p, err
				}
				_, err = pgadapter.EmitTx(ctx, tx, e, nil)
				return p, err
			})
			if errors.Is(err, pgadapter.ErrOnceKey) || errors.Is(err, pgadapter.ErrOnceContent) {
				return placed, &socketio.Error{Code: "bad_key", Message: err.Error()}
			}
			return placed, err
		})
		io.Intercept(func(next socketio.Handler) socketio.Handler {
			return func(ctx context.Context, m *socketio.Message) error {
				err := next(ctx, m)
				if errors.Is(err, pgadapter.ErrOutcomeUnknown) {
					return nil // no answer: the client sends the request again
				}
				return err
			}
		})
	}
	_ = handle
}

// A transaction of database/sql, with any driver.
func ExampleSQLTx() { //nolint:testableexamples // it needs a database; TestEmitTx has one
	pay := func(ctx context.Context, io *socketio.Server, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "update invoices set paid = true where id = 81"); err != nil {
			return err
		}
		e, err := Paid.Envelope(io, Invoice{ID: 81, Total: 1200}) // to all clients
		if err != nil {
			return err
		}
		_, err = pgadapter.EmitTx(ctx, pgadapter.SQLTx(tx), e, nil)
		return err
	}
	_ = pay
}

// A job without clients emits, moves sockets and sends server-side events, through the
// same log.
func ExampleOpenEmitter() { //nolint:testableexamples // it needs a database; TestEmitter_SharesTheOrderOfTheNodes has one
	ctx := context.Background()
	l, err := pgadapter.OpenEmitter(ctx, "postgres://localhost/shop", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := l.Close(ctx); err != nil {
			log.Print(err)
		}
	}()
	io := socketio.NewEmitter(l)
	if err := io.To("user:7").Join(ctx, "customers"); err != nil {
		log.Print(err)
	}
	if err := Paid.Emit(ctx, io.To("customers"), Invoice{ID: 81, Total: 1200}); err != nil {
		log.Print(err)
	}
}

// A node with connections like those of the application's own pool: each has a fresh
// password.
func ExampleNew() { //nolint:testableexamples // it needs a database; TestNew_PasswordChanges has one
	ctx := context.Background()
	config, err := pgxpool.ParseConfig("postgres://app@db.example.com/shop?sslmode=verify-full")
	if err != nil {
		log.Fatal(err)
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		password, err := os.ReadFile("/run/secrets/db") // or a token of IAM, or of Vault
		c.Password = strings.TrimSpace(string(password))
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	if err := migrations.New(pool, nil).Up(ctx); err != nil {
		log.Print(err)
		return
	}
	db, err := pgadapter.New(ctx, pool, nil)
	if err != nil {
		log.Print(err)
		return
	}
	io := socketio.NewServer(&socketio.Options{Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions()}})
	// … serve …
	if err := errors.Join(io.Shutdown(ctx), db.Close(ctx)); err != nil {
		log.Print(err)
	}
}
