package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/pgadapter"
)

// An order is a request whose effects happen once: a row, and an event to all clients.
type order struct {
	Client string `json:"client"`
	Key    string `json:"key"`
	Finish bool   `json:"finish"` // also when the connection is cut
}

// A receipt is the answer to an order: the random token of its row.
type receipt struct {
	Token string `json:"token"`
}

const (
	placing socketio.Request[order, receipt] = "order"
	placed  socketio.Event[string]           = "placed"
)

// A desk takes orders with a pool of the application, into the tables orders and requests of the schema, which the tests create.
type desk struct {
	n      *node
	pool   *pgxpool.Pool
	schema string
}

// takeOrders handles orders: with Once, or with a fault if c.orders is "separate" or "unkeyed". Half of the clients have orders
// that are completed when the connection is cut meanwhile, so that a repetition at another node waits for them.
func (n *node) takeOrders(ctx context.Context, c *config) error {
	pool, err := pgxpool.New(ctx, c.dsn)
	if err != nil {
		return err
	}
	d := &desk{n: n, pool: pool, schema: pgx.Identifier{c.schema}.Sanitize() + "."}
	take := map[string]func(context.Context, string, order) (receipt, error){
		"once": d.takeOnce, "separate": d.takeSeparately, "unkeyed": d.takeUnkeyed,
	}[c.orders]
	if take == nil {
		return fmt.Errorf("no way to take orders: %s", c.orders)
	}
	placing.On(n.server, func(ctx context.Context, _ *socketio.Socket, o order) (receipt, error) {
		if _, err := pool.Exec(ctx, "insert into "+d.schema+"requests (key) values ($1)", o.Key); err != nil {
			return receipt{}, fmt.Errorf("%w: %w", pgadapter.ErrOutcomeUnknown, err)
		}
		if o.Finish {
			ctx = context.WithoutCancel(ctx)
		}
		return take(ctx, c.schema, o)
	})
	n.server.Intercept(func(next socketio.Handler) socketio.Handler {
		return func(ctx context.Context, m *socketio.Message) error {
			err := next(ctx, m)
			if errors.Is(err, pgadapter.ErrOutcomeUnknown) {
				return nil // no answer: the client sends the request again
			}
			return err
		}
	})
	return nil
}

func (d *desk) takeOnce(ctx context.Context, schema string, o order) (receipt, error) {
	key := pgadapter.OnceKey{Client: o.Client, Event: string(placing), Key: o.Key, Content: o}
	return pgadapter.Once(ctx, d.pool, key, &pgadapter.OnceOptions{Schema: schema}, func(tx pgx.Tx) (receipt, error) {
		return d.place(ctx, tx, o)
	})
}

// takeSeparately has the fault that Once avoids: it claims the key in a transaction of its own, before that of the effects.
func (d *desk) takeSeparately(ctx context.Context, _ string, o order) (r receipt, err error) {
	tag, err := d.pool.Exec(ctx, "insert into "+d.schema+"claimed (key) values ($1) on conflict do nothing", o.Key)
	switch {
	case err != nil:
		return r, fmt.Errorf("%w: %w", pgadapter.ErrOutcomeUnknown, err)
	case tag.RowsAffected() == 0:
		err = d.pool.QueryRow(ctx, "select token from "+d.schema+"orders where key = $1", o.Key).Scan(&r.Token)
		return r, err
	}
	return d.takeUnkeyed(ctx, "", o)
}

// takeUnkeyed has the effects of an order again at each repetition.
func (d *desk) takeUnkeyed(ctx context.Context, _ string, o order) (r receipt, err error) {
	err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) (err error) {
		r, err = d.place(ctx, tx, o)
		return err
	})
	return r, err
}

// place has the effects of an order. They take some milliseconds.
func (d *desk) place(ctx context.Context, tx pgx.Tx, o order) (r receipt, err error) {
	err = tx.QueryRow(ctx, "insert into "+d.schema+"orders (key, token) values ($1, gen_random_uuid()) returning token", o.Key).Scan(&r.Token)
	if err != nil {
		return r, err
	}
	if _, err := tx.Exec(ctx, "select pg_sleep(random() * 0.01)"); err != nil {
		return r, err
	}
	e, err := placed.Envelope(d.n.server, o.Key)
	if err != nil {
		return r, err
	}
	_, err = d.n.db.EmitTx(ctx, tx, e, nil)
	return r, err
}
