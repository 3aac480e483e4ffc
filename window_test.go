package socketio_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func TestOptions_WindowBeyondRetention(t *testing.T) {
	t.Parallel()
	log := adapter.NewMemory(&adapter.MemoryOptions{Retention: time.Minute})
	for window, want := range map[time.Duration]string{
		30 * time.Second: "",
		31 * time.Second: "socketio: Options.Recovery.Window is 31s and the adapter keeps events for 1m0s (its Retention), which serves a window of 30s at most; make Retention 1m2s or longer, or Window shorter",
		0:                "socketio: Options.Recovery.Window is 2m0s, the default, and the adapter keeps events for 1m0s (its Retention), which serves a window of 30s at most; make Retention 4m0s or longer, or Window shorter",
	} {
		o := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log), Window: window}}
		if err := o.Validate(); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%v: %v", window, err)
		}
		if want == "" {
			continue
		}
		func() {
			defer func() {
				if got := recover(); fmt.Sprint(got) != want {
					t.Errorf("NewServer with %v: %v", window, got)
				}
			}()
			socketio.NewServer(o)
		}()
	}
}

// Without an Adapter events are kept for as long as the window requires.
func TestRecovery_LongWindowInMemory(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{Recovery: socketio.Recovery{Window: time.Hour}}, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		emit(t, io, "1")
		p.drain()
		p.Cut()
		synctest.Wait()
		emit(t, io, "2")
		time.Sleep(50 * time.Minute)
		emit(t, io, "3") // what is due is trimmed
		back := p.comeBackUncut(io)
		back.wantEvents("said 2", "said 3")
		if back.id != p.id {
			t.Error("not recovered")
		}
	})
}

// A log, its sessions or both belong to one server.
func TestNewServer_SecondOnOneLog(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		disabled bool
		want     string
	}{
		"log":      {true, "adapter: this Memory belongs to a server already; make one for each server"},
		"sessions": {false, "recovery: this Memory belongs to a server already; make one for each server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := adapter.NewMemory(nil)
			o := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Disabled: row.disabled}}
			if !row.disabled {
				o.Recovery.Store = recovery.NewMemory(log)
			}
			socketio.NewServer(o)
			defer func() {
				if got := recover(); fmt.Sprint(got) != row.want {
					t.Errorf("%v", got)
				}
			}()
			socketio.NewServer(o)
		})
	}
}
