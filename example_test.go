package socketio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/pgsocket/socketio"
)

// An exampleClient replaces a browser in the examples: it implements just enough of the
// protocol to show what a client sends and receives.
type exampleClient struct {
	io.Reader
	net.Conn
}

func (c *exampleClient) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func browse(server *httptest.Server) *exampleClient {
	url := strings.Replace(server.URL, "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
	conn, early, _, err := ws.Dial(context.Background(), url)
	if err != nil {
		log.Fatal(err)
	}
	c := &exampleClient{conn, conn}
	if early != nil { // the first message came with the response
		c.Reader = early
	}
	c.read() // the handshake of Engine.IO
	return c
}

// send sends a Socket.IO packet.
func (c *exampleClient) send(packet string) {
	if err := wsutil.WriteClientText(c, []byte("4"+packet)); err != nil {
		log.Fatal(err)
	}
}

// read returns the next packet.
func (c *exampleClient) read() string {
	text, err := wsutil.ReadServerText(c)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimPrefix(text, []byte("4")))
}

// serve mounts a server as an application does, without recovery, so that what is
// on the wire is the same every time.
func serve() (*socketio.Server, *httptest.Server) {
	io := socketio.NewServer(&socketio.Options{Recovery: socketio.Recovery{Disabled: true}})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", io)
	return io, httptest.NewServer(mux)
}

func Example_chat() {
	type Post struct {
		Text string `json:"text"`
	}
	const Posted socketio.Event[Post] = "chat:post"

	io, web := serve()
	defer web.Close()
	Posted.On(io, func(ctx context.Context, _ *socketio.Socket, p Post) error {
		return Posted.Publish(ctx, io, Post{Text: strings.ToUpper(p.Text)})
	})

	client := browse(web)
	client.send(`0`)
	client.read() // CONNECT
	client.send(`2["chat:post",{"text":"hello"}]`)
	fmt.Println(client.read())
	// Output: 2["chat:post",{"text":"HELLO"}]
}

func Example_acknowledgement() {
	type Seat struct {
		Number int `json:"number"`
	}
	const Join socketio.Request[string, Seat] = "join"

	io, web := serve()
	defer web.Close()
	Join.On(io, func(ctx context.Context, s *socketio.Socket, room string) (Seat, error) {
		switch room {
		case "lobby":
			return Seat{Number: 7}, s.Join(ctx, socketio.Room(room))
		case "full":
			return Seat{}, &socketio.Error{Code: "full", Message: "no seat left"}
		default: // a client may name any room
			return Seat{}, &socketio.Error{Code: "no_such_room"}
		}
	})

	client := browse(web)
	client.send(`0`)
	client.read() // CONNECT
	client.send(`21["join","lobby"]`)
	fmt.Println(client.read())
	client.send(`22["join","full"]`)
	fmt.Println(client.read())
	// Output:
	// 31[{"number":7}]
	// 32[{"error":{"code":"full","message":"no seat left"}}]
}

func Example_rooms() {
	const News socketio.Event[string] = "news"

	io, web := serve()
	defer web.Close()
	io.OnConnect(func(ctx context.Context, s *socketio.Socket) error {
		if err := s.Join(ctx, "sports", "europe"); err != nil {
			return err
		}
		// An audience is a value: it can be kept and used by many goroutines.
		abroad := io.To("europe", "asia").Except("muted")
		return News.Emit(ctx, abroad, "hello, and only once")
	})

	client := browse(web)
	client.send(`0`)
	client.read() // CONNECT
	fmt.Println(client.read())
	// Output: 2["news","hello, and only once"]
}

func Example_authentication() {
	type User struct{ Name string }
	const (
		CurrentUser socketio.Data[User]                     = "user"
		WhoAmI      socketio.Request[socketio.None, string] = "whoami"
	)

	io, web := serve()
	defer web.Close()
	io.Use(func(ctx context.Context, s *socketio.Socket) error {
		var auth struct{ Token string }
		if err := s.Handshake().DecodeAuth(&auth); err != nil || auth.Token != "secret" {
			return &socketio.Error{Code: "unauthorized", Message: "who are you?"}
		}
		return CurrentUser.Set(ctx, s, User{Name: "ada"})
	})
	WhoAmI.On(io, func(_ context.Context, s *socketio.Socket, _ socketio.None) (string, error) {
		user, _ := CurrentUser.Get(s)
		return user.Name, nil
	})

	client := browse(web)
	client.send(`0{"token":"guess"}`)
	fmt.Println(client.read())
	client.send(`0{"token":"secret"}`)
	client.read() // CONNECT
	client.send(`21["whoami"]`)
	fmt.Println(client.read())
	// Output:
	// 4{"message":"who are you?","data":{"code":"unauthorized"}}
	// 31["ada"]
}

func Example_namespaces() {
	const Ping socketio.Request[socketio.None, string] = "ping"

	io, web := serve()
	defer web.Close()
	admin := io.Of("/admin")
	Ping.On(admin, func(_ context.Context, s *socketio.Socket, _ socketio.None) (string, error) {
		return "pong from " + s.Namespace().Name(), nil
	})

	client := browse(web)
	client.send(`0/admin,`)
	client.read() // CONNECT
	client.send(`2/admin,1["ping"]`)
	fmt.Println(client.read())
	client.send(`0/none,`)
	fmt.Println(client.read())
	// Output:
	// 3/admin,1["pong from /admin"]
	// 4/none,{"message":"Invalid namespace"}
}

func Example_callTheClient() {
	const Confirm socketio.Request[string, bool] = "confirm"

	io, web := serve()
	defer web.Close()
	answers := make(chan bool)
	io.OnConnect(func(ctx context.Context, s *socketio.Socket) error {
		yes, err := Confirm.Call(ctx, s, "delete everything?")
		answers <- yes
		return err
	})

	client := browse(web)
	client.send(`0`)
	client.read() // CONNECT
	id, question, _ := strings.Cut(strings.TrimPrefix(client.read(), "2"), "[")
	fmt.Println("[" + question)
	client.send("3" + id + `[true]`)
	fmt.Println(<-answers)
	// Output:
	// ["confirm","delete everything?"]
	// true
}

func Example_callASocketOfAnyNode() {
	const Confirm socketio.Request[string, bool] = "confirm"

	io, web := serve()
	defer web.Close()
	ask := func(id socketio.SocketID) {
		yes, err := Confirm.Call(context.Background(), io.RemoteSocket(id), "delete everything?")
		switch left, _ := errors.AsType[*socketio.DisconnectError](err); {
		case errors.Is(err, socketio.ErrNotConnected):
			fmt.Println("nobody was asked")
		case left != nil:
			fmt.Println("no answer:", left.Reason)
		case err == nil:
			fmt.Println(yes)
		}
	}

	client := browse(web)
	client.send(`0`)
	var connected struct{ SID socketio.SocketID }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(client.read(), "0")), &connected); err != nil {
		fmt.Println(err)
	}
	go func() {
		id, _, _ := strings.Cut(strings.TrimPrefix(client.read(), "2"), "[")
		client.send("3" + id + `[true]`)
		client.read()
		client.send("1") // it leaves without an answer
	}()
	ask(connected.SID)
	ask(connected.SID)
	ask(connected.SID)
	// Output:
	// true
	// no answer: client namespace disconnect
	// nobody was asked
}

// A Move is an event of several arguments: socket.emit("move", "rook", 3, 4).
type Move struct {
	Piece string
	X, Y  int
}

func (m *Move) Args() []any { return []any{&m.Piece, &m.X, &m.Y} }

func Example_positionalArguments() {
	const Moved socketio.Event[Move] = "move"

	io, web := serve()
	defer web.Close()
	Moved.On(io, func(ctx context.Context, s *socketio.Socket, m Move) error {
		return Moved.Emit(ctx, s, Move{m.Piece, m.Y, m.X})
	})

	client := browse(web)
	client.send(`0`)
	client.read() // CONNECT
	client.send(`2["move","rook",3,4]`)
	fmt.Println(client.read())
	// Output: 2["move","rook",4,3]
}

func Example_recovery() {
	const News socketio.Event[string] = "news"

	// Without an adapter, the log and the sessions are in memory.
	io := socketio.NewServer(nil)
	web := httptest.NewServer(io)
	defer web.Close()
	results := make(chan socketio.RecoveryResult, 2)
	io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
		results <- s.Recovery()
		return nil
	})

	client := browse(web)
	client.send(`0`)
	connect := client.read() // 0{"sid":"…","pid":"…"}
	<-results
	_ = client.Close() // the connection breaks

	if err := News.Emit(context.Background(), io, "you were away"); err != nil {
		log.Fatal(err)
	}

	_, pid, _ := strings.Cut(connect, `"pid":`)
	back := browse(web)
	back.send(`0{"pid":` + pid) // official clients do this by themselves
	back.read()                 // CONNECT
	news := back.read()
	fmt.Println(news[:strings.LastIndex(news, ",")], "and an offset")
	fmt.Printf("%+v\n", <-results)
	// Output:
	// 2["news","you were away" and an offset
	// {Recovered:true Replayed:1 Reason:<nil>}
}

func ExampleEvent_EmitAsync() {
	const Tick socketio.Event[int] = "tick"

	io := socketio.NewServer(nil)
	receipts := make([]*socketio.Receipt, 0, 1000)
	for i := range 1000 { // in order, without a round trip each
		receipts = append(receipts, Tick.EmitAsync(io, i))
	}
	for _, r := range receipts {
		if err := r.Wait(context.Background()); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("all in the log")
	// Output: all in the log
}

func ExampleServer_Shutdown() {
	io, web := serve()
	client := browse(web)
	client.send(`0`)
	client.read() // CONNECT

	// No new connections, sessions parked, handlers finished.
	if err := io.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	web.Close()
	fmt.Println(client.read())
	// Output: ws closed: 1005
}
