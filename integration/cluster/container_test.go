//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"cmp"
	"context"
	"os"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/pgtest"
)

// TestCluster_OnTestcontainers is TestCluster_OneOrder with Postgres in a container.
func TestCluster_OnTestcontainers(t *testing.T) {
	if os.Getenv("SOCKETIO_TEST_DOCKER") != "1" {
		t.Skip("SOCKETIO_TEST_DOCKER is not 1")
	}
	image := cmp.Or(os.Getenv("SOCKETIO_TEST_IMAGE"), "postgres:17-alpine")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	container, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image:        image,
			ExposedPorts: []string{"5432/tcp"},
			Env:          map[string]string{"POSTGRES_PASSWORD": "integration"},
			// The first line is from the initialization.
			WaitingFor: wait.ForLog("database system is ready to accept connections").WithOccurrence(2).
				WithStartupTimeout(time.Minute),
		},
		Started: true,
	})
	testcontainers.CleanupContainer(t, container)
	if err != nil {
		t.Fatalf("start %s: %v", image, err)
	}
	address, err := container.PortEndpoint(ctx, "5432/tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	dsn, schema := pgtest.Schema(t, pgtest.On("postgres://postgres:integration@"+address+"/postgres?sslmode=disable"))
	testOneOrder(t, harness.NewClusterOn(t, dsn, schema, 3), 40, 500, 200)
}
