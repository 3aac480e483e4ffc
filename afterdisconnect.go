package socketio

import (
	"fmt"
	"maps"
	"time"

	"github.com/pgsocket/socketio/packet"
)

// endedNamespaces are the namespaces of a connection from which the server has
// disconnected the client, with the times at which it queued DISCONNECT.
type endedNamespaces map[string]time.Time

// maxEnded bounds endedNamespaces; further ones are not recorded.
const maxEnded = 1024

func (e *endedNamespaces) note(namespace string, grace time.Duration) {
	if *e == nil {
		*e = make(endedNamespaces)
	}
	if len(*e) >= maxEnded {
		maps.DeleteFunc(*e, func(_ string, at time.Time) bool { return time.Since(at) > grace })
	}
	if len(*e) < maxEnded {
		(*e)[namespace] = time.Now()
	}
}

// grace is how long packets of the client may cross with DISCONNECT. A living client
// has received it by then: it answers a ping that was queued after it.
func (c *conn) grace() time.Duration { return c.server.opts.PingInterval + c.server.opts.PingTimeout }

// afterDisconnect checks a packet for a namespace that the client is not connected to:
//
//   - an acknowledgement is ignored. A callback of an official client answers on the
//     connection that exists when it is called, with or without the namespace;
//   - a packet that crosses with DISCONNECT is ignored;
//   - any other violates the protocol, and closes the connection.
func (c *conn) afterDisconnect(p *packet.Packet) error {
	switch p.Type {
	case packet.Ack, packet.BinaryAck:
		return nil
	case packet.Event, packet.BinaryEvent, packet.Disconnect:
		c.mu.Lock()
		at, ended := c.ended[p.Namespace]
		c.mu.Unlock()
		if ended && time.Since(at) <= c.grace() {
			return nil
		}
	default:
	}
	return fmt.Errorf("%w: %s for namespace %.50q, which was not joined", errProtocol, p.Type, p.Namespace)
}
