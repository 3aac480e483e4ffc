package socketio_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestLogGap_DisconnectedInTheReplay_IsCut: a gap in the log closes every connection, also one that receives a replay and
// whose session an operation has ended: the rest of its replay would be of another log.
func TestLogGap_DisconnectedInTheReplay_IsCut(t *testing.T) {
	t.Parallel()
	memory := adapter.NewMemory(nil)
	log := &rewound{slowLog: slowLog{Memory: memory, proceed: make(chan struct{})}}
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory)}}, func(t *testing.T, io *socketio.Server) {
		log.proceed = make(chan struct{})
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		emit(t, io, "1")
		back := dial(t, io)
		back.WriteText("0" + p.ticket())
		for _, text := range []string{"2", "3"} { // for the next part
			log.proceed <- struct{}{}
			synctest.Wait()
			emit(t, io, text)
		}
		synctest.Wait()
		if err := io.Except().Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, head := log.Extent()
		log.local.LogGap(log.Offset(head), errors.New("the log was replaced"))
		synctest.Wait()
		if io.Connections() != 0 {
			t.Error("the connection is still there")
		}
		close(log.proceed)
	})
}
