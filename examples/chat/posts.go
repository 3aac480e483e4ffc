package main

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/pgadapter"
)

// A counter is the application's own state in Postgres: how many posts each room has
// had. A post and its number are one transaction, so the numbers of a room's posts
// have no gaps and are in the order of the posts. A page that receives the numbers 1,
// 2 and 4 has missed one.
type counter struct {
	pool   *pgxpool.Pool
	schema string // of the cluster, and of the table
}

func (c counter) sql(text string) string {
	return strings.ReplaceAll(text, "room_posts", pgx.Identifier{c.schema, "room_posts"}.Sanitize())
}

// create creates the table, once per cluster.
func (c counter) create(ctx context.Context) error {
	_, err := c.pool.Exec(ctx, c.sql(`create table if not exists room_posts (room text primary key, posts bigint not null)`))
	return err
}

// emit numbers the post and emits it to the audience. When it returns nil the post is
// committed: no socket of the audience will miss it. When it returns an error, the
// number is used by another post, unless the answer of Postgres to the commit is lost.
func (c counter) emit(ctx context.Context, to socketio.Target, post Post) error {
	next := c.sql(`
		insert into room_posts as r values ($1, 1)
		on conflict (room) do update set posts = r.posts + 1
		returning posts`)
	// The row's lock makes one post of a room wait for the commit of another; under
	// stricter isolation it would fail instead.
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	return pgx.BeginTxFunc(ctx, c.pool, options, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, next, string(post.Room)).Scan(&post.Number); err != nil {
			return err
		}
		envelope, err := Posted.Envelope(to, post)
		if err != nil {
			return err
		}
		_, err = pgadapter.EmitTx(ctx, tx, envelope, &pgadapter.EmitOptions{Schema: c.schema, Notify: true})
		return err
	})
}
