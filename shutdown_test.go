package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/recovery"
)

func TestShutdown_SpreadsTheReconnects(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate  int
		left  time.Duration // of ctx; zero for no deadline
		least time.Duration
		most  time.Duration
	}{
		"at a rate":                  {rate: 10, least: 4900 * time.Millisecond, most: 5100 * time.Millisecond},
		"in half of the time":        {rate: 10, left: 4 * time.Second, least: 1900 * time.Millisecond, most: 2100 * time.Millisecond},
		"at once":                    {rate: -1, most: 100 * time.Millisecond},
		"at once, in no time":        {rate: 10, left: time.Nanosecond, most: 100 * time.Millisecond},
		"by default, a few are fast": {most: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				io := newServer(&socketio.Options{DrainRate: c.rate})
				const n = 50
				var peers []*peer
				for range n {
					peers = append(peers, connected(t, io))
				}
				ctx := t.Context()
				if c.left > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.left)
					defer cancel()
				}
				began, ended := time.Now(), make(chan error, 1)
				go func() { ended <- io.Shutdown(ctx) }()
				if c.rate > 0 && c.left != time.Nanosecond {
					time.Sleep(c.least / 2)
					if left := io.Connections(); left < n/3 || left > 2*n/3 {
						t.Errorf("half-way %d of %d are left", left, n)
					}
					emit(t, io, "still there") // the remaining clients are served
				}
				err := <-ended
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("it took %v", took)
				}
				if err != nil && c.left != time.Nanosecond {
					t.Error(err)
				}
				synctest.Wait()
				heard := 0
				for _, p := range peers {
					for p.Waiting() > 0 {
						if _, data, err := p.ReadMessage(); err == nil && len(data) > 0 && data[0] == '2' {
							heard++
						}
					}
				}
				if c.least > 0 && (heard < n/3 || heard > 2*n/3) {
					t.Errorf("%d of %d received an event in mid-drain", heard, n)
				}
				if st := io.Stats(); st.Parked != n || st.Sockets != 0 || st.Connections != 0 || st.Disconnects[socketio.ReasonServerShutdown] != n {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestStats_Recovery(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		emit(t, io, "1")
		p.drain()
		p.Cut()
		synctest.Wait()
		emit(t, io, "2")
		emit(t, io, "3")
		p = p.comeBackUncut(io)
		stranger := dial(t, io)
		stranger.connect(`{"pid":"nobody"}`)
		st := io.Stats()
		if st.Connections != 2 || st.Sockets != 2 || st.Namespaces != 1 || st.Restoring != 0 {
			t.Errorf("now: %+v", st)
		}
		if st.Opened != 2 || st.Recovered != 1 || st.Parked != 1 || st.Refused[recovery.ErrUnknown.Error()] != 1 {
			t.Errorf("so far: %+v", st)
		}
		if st.Replayed.Count != 1 || st.Replayed.Sum != 2 || st.Restored.Count != 1 {
			t.Errorf("replays: %+v, %+v", st.Replayed, st.Restored)
		}
		if st.Disconnects[socketio.ReasonTransportClose] != 1 {
			t.Errorf("disconnects: %v", st.Disconnects)
		}
		p.wantEvents("said 2", "said 3")
	})
}
