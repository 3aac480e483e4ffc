package socketio_test

import (
	"context"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/pgsocket/socketio"
)

func noEvent[T any](context.Context, *socketio.Socket, T) error { return nil }

func noAnswer[Q, R any](context.Context, *socketio.Socket, Q) (answer R, err error) {
	return answer, nil
}

func ignoreMessage(context.Context, *socketio.Message) error { return nil }

// TestHandled_ListsTypesOfTypedHandlers registers each kind of handler, on each kind of registrar.
func TestHandled_ListsTypesOfTypedHandlers(t *testing.T) {
	t.Parallel()
	io := socketio.NewServer(nil)
	type lister interface {
		socketio.Registrar
		Handled() []socketio.Signature
	}
	for name, r := range map[string]lister{"server": io, "namespace": io.Of("/a"), "parent": io.OfPattern(regexp.MustCompile("^/b"))} {
		socketio.Event[int]("post").On(r, noEvent[int])
		socketio.Request[string, socketio.None]("join").On(r, noAnswer[string, socketio.None])
		r.Handle("raw", ignoreMessage)
		want := []socketio.Signature{
			{Name: "join", Payload: reflect.TypeFor[string](), Answer: reflect.TypeFor[socketio.None]()},
			{Name: "post", Payload: reflect.TypeFor[int]()},
			{Name: "raw"},
		}
		if got := r.Handled(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := io.Of("/c").Handled(); len(got) != 0 {
		t.Errorf("a namespace without handlers lists %v", got)
	}
}

// prefixed is a registrar of an application that registers under other names.
type prefixed struct{ *socketio.Namespace }

func (p prefixed) Handle(event string, h socketio.Handler) { p.Namespace.Handle("v2:"+event, h) }

func TestHandled_RegistrarOfTheApplicationChoosesTheName(t *testing.T) {
	t.Parallel()
	n := socketio.NewServer(nil).Of("/")
	socketio.Event[int]("post").On(prefixed{n}, noEvent[int])
	if got, want := n.Handled(), []socketio.Signature{{Name: "v2:post"}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSignature_NamesTheTypesOfAData(t *testing.T) {
	t.Parallel()
	want := socketio.Signature{Name: "user", Payload: reflect.TypeFor[*string]()}
	if got := socketio.Data[*string]("user").Signature(); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
