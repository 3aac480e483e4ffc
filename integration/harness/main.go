package harness

import (
	"os"
	"testing"

	"github.com/pgsocket/socketio/pgtest"
)

// Main runs the tests of a package with a Postgres of their own, unless DATABASE_URL names one.
func Main(m *testing.M) int {
	code := pgtest.Main(m)
	for _, p := range []*program{&standardProgram, &steppedClockProgram} {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir) // a temporary directory: a failure leaves it to the system
		}
	}
	return code
}
