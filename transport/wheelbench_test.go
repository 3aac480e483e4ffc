package transport

import (
	"log/slog"
	"net/http"
	"testing"
	"time"
)

// BenchmarkHeartbeat_ManyIdleSessions measures the wheel's cost per beat with 100,000 sessions.
func BenchmarkHeartbeat_ManyIdleSessions(b *testing.B) {
	server, err := NewServer(&Options{Logger: slog.New(slog.DiscardHandler)}, func(*Session, *http.Request) Receiver { return nil })
	if err != nil {
		b.Fatal(err)
	}
	w := newWheel()
	w.origin, w.slots = time.Now(), make([]*Session, wheelSlots)
	const sessions = 100_000
	for i := range sessions {
		s := &Session{server: server, transport: newPolling(), writing: true}
		w.putLocked(s, w.origin.Add(s.heartbeat.start(w.origin, 25*time.Second*time.Duration(i)/sessions).Sub(w.origin)))
	}
	now, looks := w.origin, 0
	var due []*Session
	for b.Loop() {
		for next, _ := w.next(); now.Before(next); {
			now = next
		}
		due = w.collect(now, due[:0])
		for _, s := range due {
			s.heartbeat.pong(now, 25*time.Second)
			w.add(s, s.beat(now))
		}
		looks += len(due)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(looks, 1)), "ns/look")
}
