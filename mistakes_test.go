package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
)

// TestOptions_ValidateAgreesWithNewServer sets each option to values that may be wrong: Validate reports what NewServer
// panics with.
func TestOptions_ValidateAgreesWithNewServer(t *testing.T) {
	t.Parallel()
	wrong := 0
	var walk func(path string, of func(*socketio.Options) reflect.Value)
	walk = func(path string, of func(*socketio.Options) reflect.Value) {
		var values []any
		switch v := of(new(socketio.Options)); v.Kind() {
		case reflect.Struct:
			for field := range v.Type().Fields() {
				walk(path+"."+field.Name, func(o *socketio.Options) reflect.Value { return of(o).FieldByIndex(field.Index) })
			}
		case reflect.Int, reflect.Int64:
			values = []any{math.MinInt, -1, 1}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.String {
				values = []any{[]string{}, []string{""}, []string{"app.example"}, []string{"websocket", "x"}}
			}
		case reflect.String:
			values = []any{"x", "\x00"}
		default:
		}
		for _, value := range values {
			opts := &socketio.Options{Logger: slog.New(slog.DiscardHandler)}
			of(opts).Set(reflect.ValueOf(value).Convert(of(opts).Type()))
			said := opts.Validate()
			if said != nil {
				wrong++
			}
			if panicked := newServerPanic(t, opts); fmt.Sprint(said) != fmt.Sprint(panicked) {
				t.Errorf("Options%s = %v: Validate returns %v, NewServer panics with %v", path, value, said, panicked)
			}
		}
	}
	walk("", func(o *socketio.Options) reflect.Value { return reflect.ValueOf(o).Elem() })
	if wrong < 50 {
		t.Errorf("only %d wrong values", wrong)
	}
	if err := (&socketio.Options{PingInterval: -time.Second}).Validate(); err == nil || !strings.HasSuffix(err.Error(), "-1s") {
		t.Errorf("a duration is shown as %v", err)
	}
}

// newServerPanic returns what NewServer panics with, or nil.
func newServerPanic(t *testing.T, opts *socketio.Options) (panicked any) {
	t.Helper()
	defer func() { panicked = recover() }()
	if err := socketio.NewServer(opts).Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	return nil
}

func TestRegister_NilFunctionPanics(t *testing.T) {
	t.Parallel()
	io := socketio.NewServer(nil)
	for name, register := range map[string]func(){
		"Event.On":         func() { socketio.Event[int]("e").On(io, nil) },
		"Request.On":       func() { socketio.Request[int, int]("e").On(io, nil) },
		"ServerEvent.On":   func() { socketio.ServerEvent[int]("e").On(io.Of("/"), nil) },
		"ServerRequest.On": func() { socketio.ServerRequest[int, int]("e").On(io.Of("/"), nil) },
		"Handle":           func() { io.Handle("e", nil) },
		"Use":              func() { io.Use(nil) },
		"Intercept":        func() { io.Intercept(nil) },
		"OnConnect":        func() { io.OnConnect(nil) },
		"OnDisconnect":     func() { io.OnDisconnect(nil) },
		"OnAny":            func() { io.OnAny(nil) },
		"OnAnyOutgoing":    func() { io.OnAnyOutgoing(nil) },
		"OnRoom":           func() { io.OnRoom(nil) },
		"OnNamespace":      func() { io.OnNamespace(nil) },
		"OfFunc":           func() { io.OfFunc(nil) },
		"OfPattern":        func() { io.OfPattern(nil) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "socketio: nil ") {
					t.Errorf("%s(nil): %s", name, text)
				}
			}()
			register()
		}()
	}
}

func TestRegister_PayloadThatIsNoJSONPanics(t *testing.T) {
	t.Parallel()
	io := socketio.NewServer(nil)
	defer func() {
		if text := fmt.Sprint(recover()); text != "socketio: e: chan int cannot be encoded as JSON" {
			t.Error(text)
		}
	}()
	socketio.Event[chan int]("e").On(io, func(context.Context, *socketio.Socket, chan int) error { return nil })
}

func TestRoom_InvalidNameIsNamedWithTheRule(t *testing.T) {
	t.Parallel()
	io := socketio.NewServer(nil)
	err := socketio.Event[int]("e").Emit(t.Context(), io.To("a\x00b"), 1)
	if want := `invalid room name "a\x00b": it is UTF-8 of 1 to 255 bytes without NUL`; !errors.Is(err, socketio.ErrRoomName) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
