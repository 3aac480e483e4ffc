package socketio_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// enter asks for a namespace and returns the answer, without ids.
func (p *peer) enter(name, auth string) string {
	p.t.Helper()
	p.WriteText("0" + name + "," + auth)
	text := p.ReadText()
	if strings.HasPrefix(text, "0"+name+",{") {
		return "connected"
	}
	return strings.TrimPrefix(text, "4"+name+",")
}

// askIn is ask in a namespace.
func (p *peer) askIn(name, text string) string {
	p.t.Helper()
	p.WriteText("2" + name + ",7" + text)
	return strings.TrimPrefix(p.ReadText(), "3"+name+",7")
}

func names(p *socketio.ParentNamespace) string {
	var all []string
	for n := range p.Namespaces() {
		all = append(all, n.Name())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

const invalidNamespace = `{"message":"Invalid namespace"}`

func whereAmI(r socketio.Registrar) {
	socketio.Request[socketio.None, string]("where").On(r,
		func(_ context.Context, s *socketio.Socket, _ socketio.None) (string, error) {
			return s.Namespace().Name(), nil
		})
}

func TestOfPattern_CreatesNamespaces(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		orders := io.OfPattern(regexp.MustCompile(`^/order-\d+$`))
		whereAmI(orders)
		p := dial(t, io)
		for _, name := range []string{"/order-1", "/order-2"} {
			if got := p.enter(name, ""); got != "connected" {
				t.Errorf("%s: %s", name, got)
			}
			if got := p.askIn(name, `["where"]`); got != `["`+name+`"]` {
				t.Errorf("%s: answered %s", name, got)
			}
		}
		if got := p.enter("/order-x", ""); got != invalidNamespace {
			t.Errorf("no match: %s", got)
		}
		if got := names(orders); got != "/order-1 /order-2" {
			t.Errorf("children %q", got)
		}

		// Namespaces do not share rooms; emit to each by itself.
		for n := range orders.Namespaces() {
			emit(t, n, n.Name())
		}
		for range 2 {
			if text := p.ReadText(); !strings.Contains(text, `["said","/order-`) {
				t.Errorf("got %s", text)
			}
		}
	})
}

// TestParentNamespace_ChildrenInheritHandlers also shows that a child has the
// middleware of the parent, and may be given more.
func TestParentNamespace_ChildrenInheritHandlers(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		parent := io.OfPattern(regexp.MustCompile(`^/a`))
		var told []string
		parent.Use(func(_ context.Context, s *socketio.Socket) error {
			if len(s.Handshake().Auth) == 0 {
				return &socketio.Error{Message: "who are you"}
			}
			return nil
		})
		parent.Intercept(func(next socketio.Handler) socketio.Handler {
			return func(ctx context.Context, m *socketio.Message) error {
				told = append(told, "around "+m.Event())
				return next(ctx, m)
			}
		})
		parent.OnConnect(func(_ context.Context, s *socketio.Socket) error {
			told = append(told, "connect "+s.Namespace().Name())
			return nil
		})
		whereAmI(parent)
		io.OnNamespace(func(n *socketio.Namespace) {
			told = append(told, "new "+n.Name())
			echo.On(n, func(_ context.Context, _ *socketio.Socket, v string) (string, error) { return v, nil })
		})
		p := dial(t, io)
		if got := p.enter("/a1", ""); got != `{"message":"who are you"}` {
			t.Errorf("without auth: %s", got)
		}
		if got := p.enter("/a1", "{}"); got != "connected" {
			t.Errorf("with auth: %s", got)
		}
		if got := p.askIn("/a1", `["echo","x"]`); got != `["x"]` {
			t.Errorf("answered %s", got)
		}
		parent.OnConnect(func(context.Context, *socketio.Socket) error { panic("too late for a1") })
		if got := p.askIn("/a1", `["where"]`); got != `["/a1"]` {
			t.Errorf("answered %s", got)
		}
		if got := fmt.Sprint(told); got != "[new /a1 connect /a1 around echo around where]" {
			t.Errorf("got %s", got)
		}
	})
}

const echo socketio.Request[string, string] = "echo"

func TestOfFunc_CreatesNamespaces(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		asked := 0
		first := io.OfFunc(func(_ context.Context, name string, h *socketio.Handshake) (bool, error) {
			asked++
			var auth struct{ Token string }
			switch err := h.DecodeAuth(&auth); {
			case err != nil:
				return false, err
			case auth.Token == "error":
				return true, &socketio.Error{Code: "no"}
			}
			return auth.Token == "open sesame" && strings.HasPrefix(name, "/cave"), nil
		})
		second := io.OfPattern(regexp.MustCompile(`^/cave/hall$`))
		p := dial(t, io)
		for _, c := range []struct{ name, auth, want string }{
			{"/cave", "", invalidNamespace},
			{"/cave", `{"token":"error"}`, invalidNamespace},
			{"/cave/hall", "", "connected"}, // by the second
			{"/cave", `{"token":"open sesame"}`, "connected"},
		} {
			if got := p.enter(c.name, c.auth); got != c.want {
				t.Errorf("%s %s: %s, want %s", c.name, c.auth, got, c.want)
			}
		}
		before := asked
		if got := dial(t, io).enter("/cave", ""); got != "connected" || asked != before {
			t.Errorf("to one that exists: %s, asked %d times", got, asked-before)
		}
		if names(first) != "/cave" || names(second) != "/cave/hall" {
			t.Errorf("children %q and %q", names(first), names(second))
		}
	})
}

// TestParentNamespace_ConcurrentConnects: there is one, with all sockets in it.
func TestParentNamespace_ConcurrentConnects(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		open := make(chan struct{})
		parent := io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) {
			<-open
			return true, nil
		})
		created := 0
		told := make(chan struct{})
		io.OnNamespace(func(*socketio.Namespace) {
			<-told
			created++
		})
		var peers []*peer
		for range 5 {
			p := dial(t, io)
			p.WriteText("0/x,")
			peers = append(peers, p)
		}
		synctest.Wait()
		close(open)
		synctest.Wait()
		for _, p := range peers {
			if p.Waiting() > 0 {
				t.Error("answered before OnNamespace has returned")
			}
		}
		close(told)
		for _, p := range peers {
			if text := p.ReadText(); !strings.HasPrefix(text, "0/x,{") {
				t.Errorf("answered %s", text)
			}
		}
		synctest.Wait()
		sockets := 0
		for n := range parent.Namespaces() {
			for range n.Sockets() {
				sockets++
			}
		}
		if sockets != 5 || created != 1 {
			t.Errorf("%d sockets in %d namespaces", sockets, created)
		}
	})
}

func TestParentNamespace_CleanupEmptyChildren(t *testing.T) {
	t.Parallel()
	for name, cleanup := range map[string]bool{"if asked for": true, "not by default": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, &socketio.Options{CleanupEmptyChildNamespaces: cleanup}, func(t *testing.T, io *socketio.Server) {
				parent := io.OfPattern(regexp.MustCompile(`^/tmp`))
				parent.Use(func(_ context.Context, s *socketio.Socket) error {
					if s.Namespace().Name() == "/tmp-refused" {
						return &socketio.Error{Message: "no"}
					}
					return nil
				})
				io.Of("/tmp-kept")
				a, b := dial(t, io), dial(t, io)
				a.enter("/tmp-1", "")
				b.enter("/tmp-1", "")
				b.enter("/tmp-2", "")
				b.enter("/tmp-kept", "")
				b.enter("/tmp-refused", "")
				a.WriteText("1/tmp-1,")
				synctest.Wait()
				want := "/tmp-1 /tmp-2 /tmp-kept"
				if !cleanup {
					want += " /tmp-refused"
				}
				if got := names(parent); got != want {
					t.Errorf("while one is there: %q, want %q", got, want)
				}
				b.Cut()
				synctest.Wait()
				if cleanup {
					want = "/tmp-kept"
				}
				if got := names(parent); got != want {
					t.Errorf("when all are gone: %q, want %q", got, want)
				}
				if got := a.enter("/tmp-1", ""); got != "connected" {
					t.Errorf("back: %s", got)
				}
			})
		})
	}
}

// TestParentNamespace_RefusedNames_LeaveNothing: refused names leave nothing in
// memory, with any options.
func TestParentNamespace_RefusedNames_LeaveNothing(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		admit := false
		parent := io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { return admit, nil })
		p := dial(t, io)
		for i := range 100 {
			if got := p.enter(fmt.Sprint("/", i), ""); got != invalidNamespace {
				t.Fatal(got)
			}
		}
		synctest.Wait()
		if n := io.Known(); n != 1 {
			t.Errorf("%d namespaces are kept", n)
		}
		admit = true
		if got := p.enter("/7", ""); got != "connected" || names(parent) != "/7" {
			t.Errorf("%s, children %q", got, names(parent))
		}
	})
}

func TestMaxNamespaces_PerConnection(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		io.OfPattern(regexp.MustCompile(`.`))
		p, beside := dial(t, io), connected(t, io)
		for i := range 64 {
			if got := p.enter(fmt.Sprint("/", i), ""); got != "connected" {
				t.Fatal(i, got)
			}
		}
		if got := p.enter("/one-more", ""); got != `{"message":"Too many namespaces"}` {
			t.Error(got)
		}
		p.WriteText("1/3,")
		synctest.Wait()
		if got := p.enter("/one-more", ""); got != "connected" {
			t.Errorf("after one was left: %s", got)
		}
		emit(t, io, "still here")
		beside.wantEvents("said still here")
	})
}

func TestRecovery_CreatesTheNamespaceAgain(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{CleanupEmptyChildNamespaces: true}, func(t *testing.T, io *socketio.Server) {
		parent := io.OfPattern(regexp.MustCompile(`^/tmp$`))
		parent.OnConnect(func(ctx context.Context, s *socketio.Socket) error { return s.Join(ctx, "room") })
		p := dial(t, io)
		p.WriteText("0/tmp,")
		first := p.ReadText()
		synctest.Wait()
		p.Cut()
		synctest.Wait()
		if got := names(parent); got != "" {
			t.Fatalf("children %q", got)
		}
		emit(t, io.Of("/tmp").To("room"), "missed")
		back := dial(t, io)
		back.WriteText(strings.Replace(first, "sid", "id", 1))
		if again := back.ReadText(); again != first {
			t.Errorf("came back as %s, was %s", again, first)
		}
		if text := back.ReadText(); !strings.HasPrefix(text, `2/tmp,["said","missed"`) {
			t.Errorf("got %s", text)
		}
	})
}
