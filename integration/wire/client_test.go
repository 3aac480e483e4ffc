package wire_test

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/pgsocket/socketio/integration/wire"
)

// TestClient_OffsetOfLastEvent: a client that is cut while it handles an event reconnects with the offset of that
// event. With the offset before it, a correct server would send the event again, and a test would report a duplicate.
func TestClient_OffsetOfLastEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		connects := make(chan string, 2)
		handling, release := make(chan struct{}, 2), make(chan struct{})
		c := wire.New(wire.Options{
			Event: func(json.RawMessage) { handling <- struct{}{}; <-release },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				server, client := net.Pipe()
				go serve(server, connects) // ends with the connection
				return client, nil
			},
		})
		if err := c.Connect(t.Context(), "node"); err != nil {
			t.Fatal(err)
		}
		<-connects
		<-handling
		c.Cut()
		again := make(chan error, 1)
		go func() { again <- c.Connect(t.Context(), "node") }() // waited for below
		synctest.Wait()
		close(release)
		if err := <-again; err != nil {
			t.Fatal(err)
		}
		if body := <-connects; !strings.Contains(body, `"offset":"first"`) {
			t.Errorf("it came back with %s", body)
		}
		if !c.Recovered() {
			t.Error("the private id was not brought")
		}
		c.Cut()
	})
}

// serve is a server of one session and one event, which it sends to a client that does not have it.
func serve(conn net.Conn, connects chan<- string) {
	defer conn.Close()
	if _, err := ws.Upgrade(conn); err != nil {
		return
	}
	say := func(text string) { _ = wsutil.WriteServerText(conn, []byte(text)) } // the client may be gone
	say(`0{"sid":"e"}`)
	body, err := wsutil.ReadClientText(conn)
	if err != nil {
		return
	}
	connects <- string(body)
	say(`40{"sid":"s","pid":"p"}`)
	if !strings.Contains(string(body), "offset") {
		say(`42["post","first"]`)
	}
	_, _ = wsutil.ReadClientText(conn) // until the client goes
}
