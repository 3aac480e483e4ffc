package otelsocketio_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/otelsocketio"
	"github.com/pgsocket/socketio/pgadapter"
)

// A service with one trace for each event of a client, over all nodes. With the pool of the service, pgadapter.New instead
// of Open and a tracer of pgx, the statements are spans as well.
func Example() { //nolint:testableexamples // it needs a database; package integration/tracing has one
	ctx := context.Background()
	provider := sdk.NewTracerProvider() // with the exporter and the sampler of the service
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})

	tracer := otelsocketio.New(nil)
	db, err := pgadapter.Open(ctx, os.Getenv("DATABASE_URL"), &pgadapter.Options{TraceAppend: tracer.TraceAppend})
	if err != nil {
		log.Fatal(err)
	}
	io := socketio.NewServer(&socketio.Options{
		Adapter:  db,
		Recovery: socketio.Recovery{Store: db.Sessions()},
		Tracer:   tracer,
	})
	posted := socketio.Event[string]("posted")
	socketio.Event[string]("post").On(io, func(ctx context.Context, s *socketio.Socket, text string) error {
		return posted.Emit(ctx, s.Others(), text) // the span of ctx is the parent of that of the emit
	})
	log.Print(http.ListenAndServe(":3000", io))
	_ = errors.Join(io.Shutdown(ctx), db.Close(ctx), provider.Shutdown(ctx)) // the last spans are exported at the end
}

// An event in a transaction of the application continues the trace of the caller.
func ExampleTracer_TraceContext() { //nolint:testableexamples // as above
	var (
		ctx    context.Context // of a span
		tx     pgadapter.Tx    // of the application
		io     *socketio.Server
		tracer *otelsocketio.Tracer
	)
	shipped := socketio.Event[int]("shipped")
	ship := func(order int) error {
		e, err := shipped.Envelope(io.To("orders"), order)
		if err != nil {
			return err
		}
		_, err = pgadapter.EmitTx(ctx, tx, e, &pgadapter.EmitOptions{TraceContext: tracer.TraceContext})
		return err
	}
	_ = ship
}
