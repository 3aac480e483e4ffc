package transporttest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// TestDial_TestOfAHandler is the example of the guide.
func TestDial_TestOfAHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const Greet socketio.Request[string, string] = "greet"
		io := socketio.NewServer(nil)
		Greet.On(io, func(_ context.Context, _ *socketio.Socket, name string) (string, error) { return "hello " + name, nil })

		c := transporttest.Dial(t, io, "/socket.io/?EIO=4&transport=websocket")
		c.WriteText(`0{"token":"secret"}`) // CONNECT, with auth
		c.ReadText()                       // 0{"sid":…}
		c.WriteText(`21["greet","Ann"]`)   // EVENT with acknowledgement 1
		if got, want := c.ReadText(), `31["hello Ann"]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		c.Close()
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A recorder is a test that records its failure.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestClient_NoMessage_FailsTheTest(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*transporttest.Client){
		"text":   func(c *transporttest.Client) { c.ReadText() },
		"binary": func(c *transporttest.Client) { c.ReadBinary() },
	} {
		synctest.Test(t, func(t *testing.T) {
			io := socketio.NewServer(nil)
			r := &recorder{TB: t}
			c := transporttest.Dial(r, io, "/socket.io/?EIO=4&transport=websocket")
			began, ended := time.Now(), make(chan struct{})
			go func() { // owner: this test, which waits for it
				defer close(ended)
				read(c)
			}()
			<-ended
			if waited := time.Since(began); !strings.Contains(r.failure, "no message within 10s") || waited != 10*time.Second {
				t.Errorf("%s: after %v: %q", name, waited, r.failure)
			}
			c.Close()
			if err := io.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
