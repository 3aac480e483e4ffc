package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

const closeFrame = "\x88\x80\x00\x00\x00\x00"

// TestClose_AfterARequest_TheAnswerComesFirst: the client sends a request and at once a close frame, or a message that
// ends the connection; the handler is not done yet.
func TestClose_AfterARequest_TheAnswerComesFirst(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{ // frames, masked with zeros
		"close frame": closeFrame,
		"violation":   "\x83\x80\x00\x00\x00\x00",
		"parse error": "\x81\x81\x00\x00\x00\x009",
		"Socket.IO":   "\x81\x83\x00\x00\x00\x00449",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				echo.On(io, func(_ context.Context, _ *socketio.Socket, v string) (string, error) {
					time.Sleep(100 * time.Millisecond) // virtual
					return v, nil
				})
				p := connected(t, io)
				p.WriteText(`20["echo","a"]`)
				p.WriteRaw([]byte(end))
				if got := p.ReadText(); got != `30["a"]` {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

// TestClose_WhileAHandlerGoesOn_IsNotKeptWaiting: the context of a handler ends with the connection.
func TestClose_WhileAHandlerGoesOn_IsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		ended := make(chan time.Time, 1)
		socketio.Event[socketio.None]("watch").On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
			<-ctx.Done()
			ended <- time.Now()
			return nil
		})
		p := connected(t, io)
		p.WriteText(`2["watch"]`)
		synctest.Wait()
		start := time.Now()
		p.WriteRaw([]byte(closeFrame))
		if since := (<-ended).Sub(start); since > time.Second {
			t.Errorf("after %v", since)
		}
	})
}
