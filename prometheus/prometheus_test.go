package prometheus_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
	"github.com/pgsocket/socketio/prometheus"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// collect returns the registry of a server on a Postgres.
func collect(t *testing.T) *client.Registry {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	quiet := slog.New(slog.DiscardHandler)
	db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{Schema: schema, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	io := socketio.NewServer(&socketio.Options{Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions()}, Logger: quiet})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := io.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := db.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := socketio.Event[string]("said").Emit(t.Context(), io, "hello"); err != nil {
		t.Fatal(err)
	}
	registry := client.NewPedanticRegistry()
	registry.MustRegister(prometheus.NewServerCollector(io), prometheus.NewNodeCollector(db, nil))
	return registry
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := collect(t)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	err = testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP socketio_healthy Whether the node is in the cluster and reads the log.
# TYPE socketio_healthy gauge
socketio_healthy 1
# HELP socketio_cluster_nodes Nodes of the cluster.
# TYPE socketio_cluster_nodes gauge
socketio_cluster_nodes 1
# HELP socketio_cluster_sessions Sessions of the cluster.
# TYPE socketio_cluster_sessions gauge
socketio_cluster_sessions{state="expired"} 0
socketio_cluster_sessions{state="live"} 0
socketio_cluster_sessions{state="parked"} 0
# HELP socketio_connections Clients that are connected to this node.
# TYPE socketio_connections gauge
socketio_connections 0
`), "socketio_healthy", "socketio_cluster_nodes", "socketio_cluster_sessions", "socketio_connections")
	if err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "socketio_append_events" && f.GetMetric()[0].GetHistogram().GetSampleSum() == 1 {
			return
		}
	}
	t.Error("the event that was emitted was not counted")
}

// The dashboard asks for nothing that is not there.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil || len(d.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(d.Panels), err)
	}
	source, err := os.ReadFile("prometheus.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			for _, name := range regexp.MustCompile(`socketio_(\w+?)(_bucket|_sum|_count)?\b`).FindAllStringSubmatch(target.Expr, -1) {
				if !strings.Contains(string(source), `"`+name[1]+`"`) {
					t.Errorf("%s: no metric socketio_%s", p.Title, name[1])
				}
			}
		}
	}
}
