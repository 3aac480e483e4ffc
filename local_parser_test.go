package socketio_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// TestLocal_EncodedWhileTheLogGoesOn: a local event carries the offset of the last record
// before it, also if a record overtakes it while the parser encodes it.
func TestLocal_EncodedWhileTheLogGoesOn(t *testing.T) {
	t.Parallel()
	var waits atomic.Bool
	encoding, goOn := make(chan struct{}), make(chan struct{})
	parser := &trickyParser{open: idle, decode: idle, encode: func() {
		if waits.CompareAndSwap(true, false) {
			close(encoding)
			<-goOn
		}
	}}
	bubble(t, &socketio.Options{Parser: parser}, func(t *testing.T, io *socketio.Server) {
		goOn, encoding = make(chan struct{}), make(chan struct{})
		p := connected(t, io)
		emit(t, io, "1")
		p.wantEvents("said 1")
		has := p.offset
		waits.Store(true)
		done := make(chan error, 1)
		go func() { done <- said.Emit(context.Background(), io.Local(), "local") }()
		<-encoding
		emit(t, io, "2")
		close(goOn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.wantEvents("said 1", "said 2", "said local")
		// The connection broke before the client received anything after the first event.
		p.offset = has
		p.Cut()
		synctest.Wait()
		p.comeBackUncut(io).wantEvents("said 2")
	})
}
