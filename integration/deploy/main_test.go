package deploy_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// freeAddress returns an unused loopback address with a port outside the ephemeral range.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint("127.0.0.1:", 15_000+rand.IntN(15_000))
		if listener, err := net.Listen("tcp", addr); err == nil {
			_ = listener.Close() // nothing was accepted
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}
