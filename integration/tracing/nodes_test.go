// Package tracing_test follows an event as one trace of OpenTelemetry over two nodes, with the official client, and with the
// instrumentations of net/http and pgx that services use.
package tracing_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/otelsocketio"
	"github.com/pgsocket/socketio/pgadapter"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// A node is a server of its own, with the instrumentation of a service.
type node struct {
	*socketio.Server

	name   string
	url    string
	pool   *pgxpool.Pool
	db     *pgadapter.DB
	tracer *otelsocketio.Tracer
	spans  *tracetest.InMemoryExporter
}

// startNode starts a node that ends with the test. Configure sets its handlers before it serves.
func startNode(t *testing.T, name, dsn, schema string, configure func(*node)) *node {
	t.Helper()
	n := &node{name: name, spans: tracetest.NewInMemoryExporter()}
	provider := sdk.NewTracerProvider(sdk.WithSyncer(n.spans))
	propagator := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	n.tracer = otelsocketio.New(&otelsocketio.Options{TracerProvider: provider, Propagator: propagator})

	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(provider),
		otelpgx.WithSpanNameFunc(statementName), otelpgx.WithQuerySpanNamePrefix())
	if n.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.pool.Close)
	if n.db, err = pgadapter.New(t.Context(), n.pool, &pgadapter.Options{
		Schema: schema, NodeName: name, TraceAppend: n.tracer.TraceAppend,
	}); err != nil {
		t.Fatal(err)
	}
	n.Server = socketio.NewServer(&socketio.Options{
		Adapter: n.db, Recovery: socketio.Recovery{Store: n.db.Sessions()}, Tracer: n.tracer,
	})
	configure(n)
	web := httptest.NewServer(otelhttp.NewHandler(n.Server, "socket.io",
		otelhttp.WithTracerProvider(provider), otelhttp.WithPropagators(propagator),
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
	))
	n.url = web.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.MaxWait)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		web.Close()
		if err := n.db.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return n
}

var tableOrFunction = regexp.MustCompile(`\b(append|emit_packet|nodes|meta)\b`)

// statementName names a statement for its span: the table or function of the schema that it uses, or else all of it.
func statementName(sql string) string {
	if !strings.HasPrefix(sql, "--") { // as those of the library do
		return sql
	}
	code := comments.ReplaceAllString(sql, "")
	return tableOrFunction.FindString(code)
}

var comments = regexp.MustCompile(`(?m)^--.*$`)
