package cluster_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(clientPoolVariable); config != "" { // startClientPool started this process
		if err := runClientPool(config); err != nil {
			fmt.Fprintln(os.Stderr, "client pool:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(harness.Main(m))
}
