//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package integration_test

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// setting returns a number from the environment.
func setting(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestFire: everything at once, by chance, and the history is judged by the log. See docs/fire.md.
func TestFire(t *testing.T) {
	first := int(seed(t))
	for i := range setting(t, "SOCKETIO_FIRE_SEEDS", 2) {
		t.Run(strconv.Itoa(first+i), func(t *testing.T) {
			r := burn(t, fireConfig{
				seed:     uint64(first + i),
				length:   time.Duration(setting(t, "SOCKETIO_FIRE_SECONDS", 15)) * time.Second,
				clients:  setting(t, "SOCKETIO_FIRE_CLIENTS", 60),
				official: 6,
				brief:    i%2 == 1,
			})
			t.Logf("SUMMARY %v", r)
			if r.violation != nil {
				t.Errorf("SOCKETIO_TEST_SEED=%d: %v\nthe history is in %s", r.seed, r.violation, r.file)
			}
		})
	}
}
