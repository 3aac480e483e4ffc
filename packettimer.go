package socketio

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pgsocket/socketio/transport"
)

var errPacketTimeout = errors.New("a packet was not completed in time")

// A packetTimer closes a connection whose client does not complete a packet with
// attachments in time, because the received part is in memory (Options.PacketTimeout).
type packetTimer struct {
	mu      sync.Mutex
	timer   *time.Timer // nil until there is a packet of several messages
	pending bool        // a packet is incomplete
}

// watch records whether a packet is incomplete.
func (c *conn) watch(incomplete bool) {
	t := &c.packets
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case incomplete == t.pending:
		return
	case !incomplete:
		t.timer.Stop()
	case t.timer == nil:
		t.timer = time.AfterFunc(c.server.opts.PacketTimeout, c.packetOverdue)
	default:
		t.timer.Reset(c.server.opts.PacketTimeout)
	}
	t.pending = incomplete
}

func (c *conn) packetOverdue() {
	t := &c.packets
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.pending:
	case c.session.Paused(): // the rest may have arrived, and is not read
		t.timer.Reset(c.server.opts.PacketTimeout)
	default:
		c.server.opts.Logger.DebugContext(c.base, "connection closed", slog.Any("error", errPacketTimeout))
		c.session.Close(transport.ReasonForcedClose)
	}
}
