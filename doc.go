// Package socketio is a Socket.IO server for the official v4 clients, whose
// cluster bus and memory is a log: in Postgres for any number of nodes, in the
// process for one.
//
// A client that loses its connection and returns within the recovery window
// receives every event that was addressed to it in between, once and in order.
// If the server cannot guarantee that, the client gets a new session and can see
// that it did. This holds on any node of the cluster, also when the node that
// the client was connected to was killed.
//
// # A whole program
//
//	const (
//		Posted socketio.Event[Post]            = "chat:post"
//		Join   socketio.Request[JoinReq, Seat] = "chat:join"
//	)
//
//	var public = []socketio.Room{"lobby", "news"}
//
//	func main() {
//		ctx := context.Background()
//		db, err := pgadapter.Open(ctx, os.Getenv("DATABASE_URL"), nil)
//		if err != nil {
//			log.Fatal(err)
//		}
//		io := socketio.NewServer(&socketio.Options{
//			Adapter:  db,
//			Recovery: socketio.Recovery{Store: db.Sessions()},
//		})
//		Join.On(io, func(ctx context.Context, s *socketio.Socket, q JoinReq) (Seat, error) {
//			if !slices.Contains(public, q.Room) { // a client may name any room
//				return Seat{}, &socketio.Error{Code: "no_such_room"}
//			}
//			return Seat{Number: 7}, s.Join(ctx, q.Room) // the acknowledgement
//		})
//		Posted.On(io, func(ctx context.Context, s *socketio.Socket, p Post) error {
//			if !s.In(p.Room) {
//				return &socketio.Error{Code: "not_in_room"}
//			}
//			return Posted.Publish(ctx, s.To(p.Room), p) // the acknowledgement waits for the log
//		})
//		http.Handle("/socket.io/", io)
//		log.Fatal(http.ListenAndServe(":3000", nil))
//	}
//
// Without Adapter and Recovery the same program is a single node that keeps its
// log in memory.
//
// # Words
//
//   - A [Server] is one node. It is an http.Handler.
//   - A [Namespace] is a channel of a client's connection with handlers,
//     middleware and rooms of its own. The methods of a Server are those of "/".
//   - A [Socket] is one client in one namespace.
//   - An [Audience] selects sockets, on all nodes: io.To("lobby").Except("muted").
//     All sockets are io, or as an Audience io.All(); an empty list of rooms selects none.
//   - An [Event] is a name bound to the type of its payload. It is handled with
//     On and emitted with Emit; a [Request] is answered.
//   - A [Data] is a typed value of a socket that survives recovery.
//
// Handlers are registered on the namespace, never on a socket. State that
// JavaScript servers keep in closures of a connection handler belongs in Data,
// because Data can be recovered on another node.
//
// # What Emit promises
//
//	target                               nil from Emit means
//	──────────────────────────────────   ─────────────────────────────────────────
//	Server, Namespace, Audience, Socket  in the log, as durable as the log is
//	Audience.Volatile                    on its way to the log; never replayed, and
//	                                     dropped for clients that cannot take it at once
//	Audience.Local                       queued for the sockets of this node; not in
//	                                     the log, never replayed
//
// It never means that a client received the event. Use [Request.Call] for that, for a
// socket of any node. A call does not survive its connection, and is not replayed.
//
// In a handler, [Event.Publish] does not wait for the log: the acknowledgement of the
// event that is being handled does, and the next event of the socket is handled meanwhile.
// The client that waits for it learns the same as a caller of Emit.
//
// # What runs concurrently
//
//  1. The events of one socket are handled one at a time, in the order in which
//     they arrived, after OnConnect and before OnDisconnect. Different sockets run
//     at the same time.
//  2. A handler may block; only its own socket waits. It may call its own client:
//     while it waits for the answer, the later events of that socket wait as well.
//     To avoid that, make the call in a goroutine, see below.
//  3. Emitted events reach every socket of the cluster in one order, the log's.
//     Emits of one goroutine keep their order, in Emit, Publish and EmitAsync alike,
//     and so do the publishes of the handlers of one socket.
//  4. Every exported method may be called from any goroutine, unless its comment
//     says otherwise.
//  5. After [Server.Shutdown] has returned nil, no code of the application that the
//     server calls is running.
//  6. A panic in a handler, a middleware, a callback, an encoder or the handler of a
//     logger is recovered and logged. So is runtime.Goexit. A peer that waits for
//     an answer receives an error.
//  7. No code of the application runs under a lock of the server, so it may call
//     the server.
//
// A Call that does not delay the events behind it:
//
//	Delete.On(io, func(_ context.Context, s *socketio.Socket, id ItemID) error {
//		go func() { // ends with the socket, or with the answer
//			sure, err := Confirm.Call(s.Context(), s, "delete it?")
//			if err == nil && sure {
//				remove(s.Context(), id)
//			}
//		}()
//		return nil
//	})
//
// The goroutine is the application's own: Shutdown does not wait for it, and nothing
// recovers its panics.
//
// # Errors
//
// A handler's *[Error] is sent to the peer. Any other error is logged, once, and
// the peer of a request gets the code "internal" without detail. A call that
// needed a connection fails with a *[DisconnectError], which is also the cause of
// the socket's context. The errors of a call of another node's socket are listed at
// [Request.Call].
//
// # What clients see of recovery
//
// Every event carries one more argument at its end, a string: its offset in the
// log. The official clients need it to recover; a listener that takes its
// arguments by name ignores it. Recovery.Disabled turns it off together with
// recovery.
package socketio
