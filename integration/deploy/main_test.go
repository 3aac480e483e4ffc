package deploy_test

import (
	"os"
	"testing"

	"github.com/pgsocket/socketio/pgtest"
)

// The tests start one node at a time, so they do not wait for the clusters of other packages, as those of package harness do.
func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
