package pgadapter

import (
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// A notification that arrives is no proof for the batch before it, which may have sent
// none: the notification queue was full, or its append asked for none.
func TestNotification_AfterLocalOnlyBatch_SkipsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, recorders := b.nodes(t, 2, &Options{PollInterval: time.Hour})
	for seq := range 20 {
		frame := appendPacket([]byte{frameVersion}, adaptertest.Event("%d", seq))
		b.exec(t, "select append(77, $1, 1, $2, $3)", seq, frame, seq%4 == 3)
	}
	for _, r := range recorders {
		got := adaptertest.Payloads(r.Expect(t, 20))
		for seq, payload := range got {
			if want := string(adaptertest.Event("%d", seq).Payload); payload != want {
				t.Fatalf("record %d is %s, want %s", seq, payload, want)
			}
		}
	}
}
