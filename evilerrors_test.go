package socketio_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/packet"
)

// A hostileError is an error of the application whose methods fail.
type hostileError struct{}

func (hostileError) Error() string { runtime.Goexit(); return "" }
func (hostileError) Is(error) bool { panic("Is") }
func (hostileError) As(any) bool   { panic("As") }
func (hostileError) Unwrap() error { panic("Unwrap") }

// A hostileParser refuses every message.
type hostileParser struct{}

func (hostileParser) Encode(p *packet.Packet) ([]packet.Message, error) {
	return []packet.Message{{Data: p.AppendText(nil)}}, nil
}
func (p hostileParser) NewDecoder(packet.Limits) packet.MessageDecoder { return p }
func (hostileParser) Decode([]byte, bool) (*packet.Packet, error)      { return nil, hostileError{} }

func TestOfFunc_MethodsOfItsErrorFail_ConnectionIsCut(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { return false, hostileError{} })
		p, other := dial(t, io), connected(t, io)
		p.WriteText("0/x,")
		p.closed()
		emit(t, io, "still here")
		other.wantEvents("said still here")
	})
}

func TestServerRequest_TextOfItsErrorFails_NodeIsAnswered(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		clusterCall.On(b.Namespace, func(context.Context, string, string) (socketio.None, error) {
			return socketio.None{}, hostileError{}
		})
		for _, err := range clusterCall.Call(t.Context(), a.Namespace, "?") {
			if e, ok := errors.AsType[*socketio.Error](err); !ok || e.Code != socketio.CodeInternal {
				t.Errorf("error %v", err)
			}
		}
	})
}

func TestParser_MethodsOfItsErrorFail_ConnectionIsClosed(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{Parser: hostileParser{}}, func(t *testing.T, io *socketio.Server) {
		p := dial(t, io)
		p.WriteText("0")
		p.closed()
		synctest.Wait()
		if n := io.Stats().Connections; n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}
