package deploy_test

import (
	"os"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
