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
