package socketio

import (
	"fmt"
	"maps"
	"time"

	"github.com/pgsocket/socketio/packet"
)

// endedNamespaces are the namespaces of a connection from which the server has
// disconnected the client, with the times at which it queued the news.
type endedNamespaces map[string]time.Time

// maxEnded bounds endedNamespaces; of more the connection does not know.
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

// grace is how long packets may cross with the news that the server has
// disconnected a socket. A living client has the news by then: it answers a ping
// that was queued after it.
func (c *conn) grace() time.Duration { return c.server.opts.PingInterval + c.server.opts.PingTimeout }

// afterDisconnect judges a packet for a namespace that the client is not connected to:
//
//   - an acknowledgement is ignored. A callback of an official client answers on the
//     connection that there is when it is called, whatever became of the namespace;
//   - a packet that crosses with the news that the server has disconnected the socket
//     is ignored;
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
