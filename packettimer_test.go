package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

const halfPacket = `52-["hold",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`

// TestPacketTimeout_HalfSent: a packet whose attachments do not arrive does not stay
// in memory, even if its client answers PINGs.
func TestPacketTimeout_HalfSent(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		began := time.Now()
		p.WriteText(halfPacket)
		time.Sleep(time.Minute)
		p.WriteBinary([]byte("one of two"))
		p.closed()
		if after := time.Since(began); after != 2*time.Minute {
			t.Errorf("closed after %v", after)
		}
		if n := io.Stats().Disconnects[socketio.ReasonForcedClose]; n != 1 {
			t.Errorf("disconnects: %v", io.Stats().Disconnects)
		}
	})
}

// TestPacketTimeout_Complete: packets that are complete in time have no effect.
func TestPacketTimeout_Complete(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{PacketTimeout: time.Minute}, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		for range 5 {
			p.WriteText(halfPacket)
			time.Sleep(50 * time.Second)
			p.WriteBinary(nil)
			p.WriteBinary(nil)
		}
		time.Sleep(10 * time.Minute)
		if n := io.Connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestPacketTimeout_Paused: the time in which the connection is not read does not
// count.
func TestPacketTimeout_Paused(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{PacketTimeout: 20 * time.Second}, func(t *testing.T, io *socketio.Server) {
		handled := 0
		hold.On(io, func(context.Context, *socketio.Socket, socketio.None) error { handled++; return nil })
		p := connected(t, io)
		p.WriteText(halfPacket)
		synctest.Wait()
		s := only(t, io)
		s.PauseReading()
		go func() {
			p.WriteBinary(nil)
			p.WriteBinary(nil)
		}()
		time.Sleep(22 * time.Second)
		s.ResumeReading()
		synctest.Wait()
		if n := io.Connections(); n != 1 || handled != 1 {
			t.Errorf("%d connections, %d packets handled", n, handled)
		}
	})
}
