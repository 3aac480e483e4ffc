package pgadapter

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/recovery"
)

func TestQueueWrites_Full_ChangesWait(t *testing.T) {
	t.Parallel()
	const color socketio.Data[string] = "color"
	b := newBench(t)
	db := b.open(t, &Options{QueueWrites: 2})
	server := serve(t, db)
	(&testClient{}).connect(t, server)
	var s *socketio.Socket
	eventually(t, "the socket is connected", func() bool {
		for s = range server.Sockets() {
			return true
		}
		return false
	})
	mustOpen(t, db, session("p"))
	mustOpen(t, db, session("q"))

	b.exec(t, "begin")
	b.exec(t, "lock table sessions in exclusive mode")
	for _, pid := range []string{"p", "q"} {
		db.Sessions().Change(session(pid).Key, recovery.Change{At: 1, Join: []string{"r"}})
	}
	cause := errors.New("waited for long enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for name, change := range map[string]func() error{
		"Join":       func() error { return s.Join(ctx, "r") },
		"Leave":      func() error { return s.Leave(ctx, "r") },
		"Set":        func() error { return color.Set(ctx, s, "blue") },
		"Delete":     func() error { return color.Delete(ctx, s) },
		"Disconnect": func() error { return s.Disconnect(ctx) },
		"Local":      func() error { return server.Local().Join(ctx, "r") },
		"Resume": func() error {
			_, err := db.Sessions().Resume(ctx, recovery.ResumeRequest{PIDHash: "away", Namespace: "/"})
			return err
		},
	} {
		if err := change(); !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if stats := db.Stats(); stats.Writes != 2 || stats.Claims != 0 {
		t.Errorf("%d writes and %d claims wait", stats.Writes, stats.Claims)
	}
	if _, set := color.Get(s); set || s.Context().Err() != nil || slices.Contains(slices.Collect(s.Rooms()), "r") {
		t.Error("an operation that returned an error was applied")
	}
	joined := make(chan error, 1)
	go func() { joined <- s.Join(t.Context(), "r") }() // ends when the queue has space
	b.exec(t, "commit")

	if err := <-joined; err != nil {
		t.Error(err)
	}
	if n := b.int(t, "select count(*) from session_rooms where room = 'r'"); n != 3 {
		t.Errorf("%d of 3 sessions are in the room", n)
	}
	if err := color.Set(t.Context(), s, "blue"); err != nil {
		t.Error(err)
	}
}

func TestKeyedQueue_Full_Waits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newKeyedQueue(func(_, _ int) bool { return true })
		waited := 0
		wait := func() {
			if err := l.waitSpace(t.Context(), 3); err != nil {
				t.Error(err)
			}
			waited++
		}
		check := func(want int) {
			t.Helper()
			synctest.Wait()
			if waited != want {
				t.Errorf("%d waiters got space, want %d", waited, want)
			}
		}
		l.add("a", 1)
		l.add("b", 2)
		go wait()
		check(1)
		l.add("b", 3)
		go wait()
		check(1)
		pids, _ := l.take(1)
		check(1) // the other one is taken and not done
		l.add("c", 4)
		l.done(pids)
		check(1)
		pids, _ = l.take(1)
		l.done(pids)
		check(2)
		if n := l.len(); n != 1 {
			t.Errorf("%d left", n)
		}
	})
}
