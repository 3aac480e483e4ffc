// Command chat is the last steps of the tutorial; the same server in Node is integration/js/fromnode/chat.mjs.
package main

import (
	"cmp"
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgadapter"
)

// A Post is what clients receive: (msg, id) => ….
type Post struct {
	Content string
	ID      int64
}

func (p *Post) Args() []any { return []any{&p.Content, &p.ID} }

const Posted socketio.Event[Post] = "chat message"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrations.New(pool, nil).Up(ctx); err != nil {
		return err
	}
	db, err := pgadapter.New(ctx, pool, nil)
	if err != nil {
		return err
	}
	io := socketio.NewServer(&socketio.Options{
		Adapter:  db,
		Recovery: socketio.Recovery{Store: db.Sessions()},
	})
	handle(io, pool)

	mux := http.NewServeMux()
	mux.Handle("/socket.io/", io)
	web := &http.Server{Addr: "127.0.0.1:" + cmp.Or(os.Getenv("PORT"), "3000"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- web.ListenAndServe() }() // ends with web.Shutdown
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 25*time.Second)
	defer cancel()
	return errors.Join(io.Shutdown(ctx), web.Shutdown(ctx), db.Close(ctx))
}

func handle(io *socketio.Server, pool *pgxpool.Pool) {
	io.Handle("chat message", func(ctx context.Context, m *socketio.Message) error {
		var msg, clientOffset string
		if err := m.Decode(&msg, &clientOffset); err != nil {
			return err
		}
		if err := post(ctx, io, pool, msg, clientOffset); err != nil {
			slog.ErrorContext(ctx, "message not stored", slog.Any("error", err))
			return nil // no answer: the client sends it again
		}
		return m.Reply()
	})

	io.OnConnect(func(ctx context.Context, s *socketio.Socket) error {
		if s.Recovered() {
			return nil
		}
		var auth struct{ ServerOffset int64 }
		if err := s.Handshake().DecodeAuth(&auth); err != nil {
			return err
		}
		rows, err := pool.Query(ctx, "SELECT content, id FROM messages WHERE id > $1 ORDER BY id", auth.ServerOffset)
		if err != nil {
			return err
		}
		posts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Post])
		if err != nil {
			return err
		}
		for _, p := range posts {
			if err := Posted.Emit(ctx, s, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// post stores a message and emits it: both happen, or neither. A message that was sent before is left alone.
func post(ctx context.Context, io *socketio.Server, pool *pgxpool.Pool, msg, clientOffset string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		const insert = "INSERT INTO messages (content, client_offset) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id"
		p := Post{Content: msg}
		err := tx.QueryRow(ctx, insert, msg, clientOffset).Scan(&p.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // it was sent before
		}
		if err != nil {
			return err
		}
		e, err := Posted.Envelope(io, p)
		if err != nil {
			return err
		}
		_, err = pgadapter.EmitTx(ctx, tx, e, &pgadapter.EmitOptions{Notify: true})
		return err
	})
}
