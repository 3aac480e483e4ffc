package socketio

import (
	"context"
	"errors"
	"slices"

	"github.com/pgsocket/socketio/packet"
)

// A Callee is the socket that [Request.Call] asks: a *[Socket], or a *[RemoteSocket],
// which may be connected to any node.
type Callee interface {
	call(ctx context.Context, p payload) (*packet.Packet, error)
}

// call asks the socket directly if it is connected to this node, and through the log
// otherwise.
func (r *RemoteSocket) call(ctx context.Context, p payload) (*packet.Packet, error) {
	to := r.audience.r
	if to.server == nil {
		return nil, errNoServer
	}
	if s := to.server.hub.socket(to.namespace, r.found.ID); s != nil {
		return s.call(ctx, p)
	}
	ctx, span := to.tracing.startEvent(ctx, TraceSpan{Kind: SpanCall, Namespace: to.namespace}, p.json)
	reply, err := r.callThroughLog(ctx, p, span.carried())
	span.end(err)
	return reply, err
}

// callThroughLog sends the request to all nodes, at one position of the log. Each answers
// whether it has asked the socket; one that has answers a second time, with what became
// of it.
func (r *RemoteSocket) callThroughLog(ctx context.Context, p payload, trace string) (*packet.Packet, error) {
	to := r.audience.r
	if to.nobody() {
		return nil, ErrNotConnected
	}
	ctx, cancel := to.server.deadlined(ctx)
	defer cancel()
	c := socketCall{socket: r.found.ID, err: ErrNotConnected}
	v := to.server.newClusterCall(c.take)
	head := request{Node: to.server.hub.id, ID: v.id, Kind: requestCall, Socket: r.found.ID, trace: trace}
	if err := v.ask(ctx, to, head, p); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return c.reply, c.err
}

// A socketCall is a call to one socket through the log. One node at most has the socket at
// the position of the request, see awaitMoved.
type socketCall struct {
	socket SocketID
	asked  string // the node that has asked the socket; "" if none has, or not yet
	reply  *packet.Packet
	err    error // the outcome, if no node says more
}

// take takes an answer, or the error of a node that is gone. It returns false when no
// further answer can change the outcome.
func (c *socketCall) take(a *response, err error) bool {
	switch {
	case err != nil:
		return c.takeNodeError(err)
	case a.From == "":
		if slices.Contains(a.Asked, c.socket) {
			c.asked = a.Node
		}
		return true
	case a.From != c.socket: // a node of an earlier version has asked the room of its id
		return true
	case a.Lost != "":
		c.err = &DisconnectError{Reason: a.Lost}
	case a.Error != nil:
		c.err = a.Error
	default:
		c.reply, c.err = &packet.Packet{Data: a.body, Attachments: a.attachments}, nil
	}
	return false
}

// takeNodeError records that a node is gone, which has asked the socket, or may have had it.
func (c *socketCall) takeNodeError(err error) bool {
	c.err = err
	node, ok := errors.AsType[*NodeError](err)
	return !ok || node.ID != c.asked
}
