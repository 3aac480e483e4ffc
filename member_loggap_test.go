package socketio_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// TestLogGap_DisconnectedInTheReplay_IsCut: a gap in the log closes every connection, also one that receives a replay and
// whose session an operation has ended: the rest of its replay would be of another log.
func TestLogGap_DisconnectedInTheReplay_IsCut(t *testing.T) {
	t.Parallel()
	inTheReplay(t, func(t *testing.T, io *socketio.Server, log *rewound, _, _ *peer) {
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
