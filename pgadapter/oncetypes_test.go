package pgadapter_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

// A receipt is an answer of several arguments.
type receipt struct {
	number int
	scan   socketio.Binary
}

func (r *receipt) Args() []any { return []any{&r.number, &r.scan} }

type page struct {
	Number int             `json:"number"`
	Scan   socketio.Binary `json:"scan"`
	Bytes  []byte          `json:"bytes"`
}

// Every type of an answer keeps its content, and the content of a request of such a type is compared.
func TestOnce_TypesOfPackageSocketio(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	opts := &pgadapter.OnceOptions{Schema: schema}

	same(t, conn, opts, receipt{7, socketio.Binary{1, 2}}, receipt{7, socketio.Binary{1, 3}})
	same(t, conn, opts, receipt{7, nil}, receipt{8, nil})
	same(t, conn, opts, page{7, socketio.Binary{1, 2}, []byte{3}}, page{7, socketio.Binary{1, 3}, []byte{3}})
	same(t, conn, opts, []byte{1, 2}, []byte{1, 3})
	same(t, conn, opts, []socketio.Binary{{1}, {2}}, []socketio.Binary{{1}, {3}})
	same(t, conn, opts, "é\x00\u2028<>", "é\x00\u2028<")
	same(t, conn, opts, socketio.None{}, socketio.None{})
	same(t, conn, opts, &page{Number: 7}, nil)
}

// same runs a request with a content, which is its answer, and repeats it with this content and another one.
func same[T any](t *testing.T, conn *pgx.Conn, opts *pgadapter.OnceOptions, content, other T) {
	t.Helper()
	key := pgadapter.OnceKey{Client: "ann", Event: reflect.TypeFor[T]().String(), Key: fmt.Sprint(content), Content: content}
	ran := 0
	run := func() (T, error) {
		return pgadapter.Once(t.Context(), conn, key, opts, func(pgx.Tx) (T, error) {
			ran++
			return content, nil
		})
	}
	for range 2 {
		if got, err := run(); err != nil || !reflect.DeepEqual(got, content) {
			t.Errorf("%T: %v, %v, want %v", content, got, err, content)
		}
	}
	if ran != 1 {
		t.Errorf("%T: ran %d times", content, ran)
	}
	key.Content = other
	if _, err := run(); (err == nil) != reflect.DeepEqual(content, other) {
		t.Errorf("%T with another content: %v", content, err)
	}
}
