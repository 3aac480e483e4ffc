package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"slices"
)

// A Reply is what one socket answered to [Request.CallAll].
type Reply[R any] struct {
	From  SocketID
	Value R
}

// CallAll sends the request to every socket of the target, in the whole cluster,
// and yields the answers as they arrive. It ends with the last answer, with ctx, or
// after Options.AckTimeout if ctx has no deadline.
//
// An error with a From is that socket's: a *[DisconnectError] when it was
// disconnected before it answered, the cause of ctx when it did not answer in
// time, an *[Error] when its answer is too large for the log, or a decoding error
// when its answer does not fit R. A *[NodeError] is a node's: its sockets may or may
// not have received the request. Any other error means that the request was not
// sent, or that answers could not be read, and is the last.
//
// Like [Request.Call] it is not repeated for clients that return later.
func (q Request[Q, R]) CallAll(ctx context.Context, to Target, v Q) iter.Seq2[Reply[R], error] {
	return func(yield func(Reply[R], error) bool) {
		p, err := encodeEvent(string(q), v)
		if err != nil {
			yield(Reply[R]{}, err)
			return
		}
		callAll(ctx, to.route(), p, func(from SocketID, args []byte, attachments [][]byte, err error) bool {
			r := Reply[R]{From: from}
			if err == nil {
				err = decodeAnswer(args, attachments, &r.Value)
			}
			return yield(r, err)
		})
	}
}

// callAll is CallAll without types.
func callAll(ctx context.Context, r route, p payload, yield func(SocketID, []byte, [][]byte, error) bool) {
	switch {
	case r.server == nil:
		yield("", nil, nil, errNoServer)
		return
	case !r.connected():
		yield("", nil, nil, ErrNotConnected)
		return
	}
	ctx, cancel := r.server.deadlined(ctx)
	defer cancel()
	waiting := make(map[SocketID]struct{})
	v := r.server.newClusterCall(func(a *response, err error) bool {
		switch {
		case err != nil:
			return yield("", nil, nil, err)
		case a.From == "":
			for _, id := range a.Asked {
				waiting[id] = struct{}{}
			}
			return true
		}
		delete(waiting, a.From)
		switch {
		case a.Lost != "":
			return yield(a.From, nil, nil, &DisconnectError{Reason: a.Lost})
		case a.Error != nil:
			return yield(a.From, nil, nil, a.Error)
		}
		return yield(a.From, a.body, a.attachments, nil)
	})
	err := v.run(ctx, r, requestCall, p)
	wanted := true
	report := func(from SocketID, err error) {
		wanted = wanted && yield(from, nil, nil, err)
	}
	if err != nil && ctx.Err() != nil {
		for id := range waiting {
			report(id, context.Cause(ctx))
		}
	}
	v.finish(ctx, err, func(err error) { report("", err) })
}

func decodeAnswer[R any](data []byte, attachments [][]byte, v *R) error {
	if err := decodeBody(data, attachments, v); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// A RemoteSocket is a socket somewhere in the cluster, as it was when [Audience.Fetch]
// found it, or only its id, from [Namespace.RemoteSocket]. As a [Target], as a [Callee],
// and in Join, Leave and Disconnect, it stands for the socket as it is now.
type RemoteSocket struct {
	audience Audience
	found    socketInfo
}

// ID returns the socket's id.
func (r *RemoteSocket) ID() SocketID { return r.found.ID }

// Rooms yields the rooms that the socket was in, its own first.
func (r *RemoteSocket) Rooms() iter.Seq[Room] { return slices.Values(r.found.Rooms) }

// Handshake returns the handshake of the socket's client.
func (r *RemoteSocket) Handshake() *Handshake {
	f := &r.found
	u, err := url.Parse(f.URL)
	if err != nil {
		u = &url.URL{} // it was a URL when it was sent
	}
	return &Handshake{Header: f.Header, URL: u, Address: f.Address, Secure: f.Secure, Time: f.Time, Auth: f.Auth}
}

// Join puts the socket into rooms, see [Audience.Join].
func (r *RemoteSocket) Join(ctx context.Context, rooms ...Room) error {
	return r.audience.Join(ctx, rooms...)
}

// Leave takes the socket out of rooms, see [Audience.Leave].
func (r *RemoteSocket) Leave(ctx context.Context, rooms ...Room) error {
	return r.audience.Leave(ctx, rooms...)
}

// Disconnect disconnects the socket and ends its session, see
// [Audience.Disconnect].
func (r *RemoteSocket) Disconnect(ctx context.Context) error { return r.audience.Disconnect(ctx) }

func (r *RemoteSocket) route() route { return r.audience.r }

func (r *RemoteSocket) snapshot() map[string]json.RawMessage { return r.found.Data }

// Fetch yields the sockets of the audience, in the whole cluster, as of one position
// in the log. Their descriptions pass through the log, including their handshakes
// with all headers, but without the private id in a client's auth object. An error
// with a socket means that its description is too large for the log: it has only an
// id. A *[NodeError] stands for the sockets of one node. Any other error is the last.
// Fetch ends with ctx, or after Options.AckTimeout if ctx has no deadline.
func (a Audience) Fetch(ctx context.Context) iter.Seq2[*RemoteSocket, error] {
	return func(yield func(*RemoteSocket, error) bool) {
		if a.r.server == nil {
			yield(nil, errNoServer)
			return
		}
		ctx, cancel := a.r.server.deadlined(ctx)
		defer cancel()
		v := a.r.server.newClusterCall(func(answer *response, err error) bool {
			switch {
			case err != nil:
				return yield(nil, err)
			case answer.Error != nil && answer.From != "":
				return yield(a.remote(socketInfo{ID: answer.From}), answer.Error)
			case answer.Error != nil:
				return yield(nil, fmt.Errorf("sockets of node %s: %w", answer.Node, answer.Error))
			}
			return a.found(answer.body, yield)
		})
		err := v.run(ctx, a.r, requestFetch, payload{})
		wanted := true
		v.finish(ctx, err, func(err error) { wanted = wanted && yield(nil, err) })
	}
}

// found yields the sockets of one answer.
func (a Audience) found(body []byte, yield func(*RemoteSocket, error) bool) bool {
	for line := range bytes.Lines(body) {
		var l socketInfo
		if err := json.Unmarshal(line, &l); err != nil {
			return yield(nil, fmt.Errorf("socket of another node: %w", err))
		}
		if !yield(a.remote(l), nil) {
			return false
		}
	}
	return true
}

func (a Audience) remote(l socketInfo) *RemoteSocket {
	all := Audience{route{sender: a.r.sender, namespace: a.r.namespace}}
	if !isSocketID(string(l.ID)) {
		return &RemoteSocket{audience: all.To(), found: l} // its room may have members
	}
	return &RemoteSocket{audience: all.To(Room(l.ID)), found: l}
}
