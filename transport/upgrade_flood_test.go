package transport_test

import (
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
)

// TestUpgrade_FrameFlood: a WebSocket that wants to take over a session, which no rate holds for yet, sends a few
// frames at most.
func TestUpgrade_FrameFlood(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(*socket){
		"pings":     func(s *socket) { s.write(ws.NewPingFrame(nil)) },
		"pongs":     func(s *socket) { s.write(ws.NewPongFrame(nil)) },
		"probes":    func(s *socket) { s.text("2probe") },
		"fragments": func(s *socket) { s.write(ws.NewFrame(ws.OpContinuation, false, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, _ := poll(t, nil)
				s, _ := p.websocket()
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					for {
						if end := s.read(); end == "close" || end == "gone" {
							return
						}
					}
				}()
				if name == "fragments" {
					s.write(ws.NewFrame(ws.OpText, false, []byte("2")))
				}
				for range 10_000 {
					send(s)
				}
				synctest.Wait()
				select {
				case <-gone:
				default:
					t.Error("10,000 frames were taken")
				}
				p.want(p.post("4a"), 200, "ok") // the session goes on
			})
		})
	}
}
