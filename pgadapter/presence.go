package pgadapter

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/recovery"
)

var _ recovery.PresenceStore = (*Sessions)(nil)

// announcePause is the least time between two announcements of one node, which combine the
// changes of many topics.
const announcePause = 20 * time.Millisecond

// A presences announces changes of presence to watchers: after writes of this node that may
// have changed some, and once per lease for changes whose node has died before it announced
// them. Every node announces the changes of all.
type presences struct {
	base

	wakeup chan struct{} // signaled when there may be changes
	outage outage        // of the goroutine
}

func newPresences(b base) *presences {
	return &presences{
		base: b, wakeup: make(chan struct{}, 1),
		outage: outage{logger: b.opts.Logger, begins: "presence not announced; retrying", over: "presence is announced again"},
	}
}

// wake makes the node look for changes.
func (p *presences) wake() { wake(p.wakeup) }

// run announces until ctx ends.
func (p *presences) run(ctx context.Context) {
	timer := time.NewTimer(p.opts.Lease)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.wakeup:
		case <-ctx.Done():
			return
		}
		next, err := p.announce(ctx, recovery.PresenceInterval)
		if ctx.Err() != nil || !pause(ctx, announcePause) {
			return
		}
		if err != nil {
			p.outage.failed(ctx, annotateSchemaErr(p.opts.Schema, err))
		} else {
			p.outage.succeeded(ctx)
		}
		timer.Reset(next)
	}
}

// announce announces what is due, and returns when to call it again. Between two announcements
// of a topic is at least the interval.
func (p *presences) announce(ctx context.Context, interval time.Duration) (next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	for {
		n, due, err := p.announceOnce(ctx, interval, true)
		if queueFull(err) { // all nodes poll
			n, due, err = p.announceOnce(ctx, interval, false)
		}
		switch {
		case err != nil:
			return time.Second, err
		case due == nil:
			return p.opts.Lease, nil
		case n == 0 || *due > 0:
			return time.Duration(*due) * time.Millisecond, nil
		}
	}
}

func (p *presences) announceOnce(ctx context.Context, interval time.Duration, notify bool) (n int, due *int, err error) {
	err = p.pool.QueryRow(ctx, p.queries.announcePresence, interval.Milliseconds(), notify).Scan(&n, &due)
	return n, due, err
}

// flush announces everything, without regard to the interval: the node is about to end.
func (p *presences) flush(ctx context.Context) { _, _ = p.announce(ctx, 0) }

// Members implements recovery.PresenceStore.
func (s *Sessions) Members(ctx context.Context, t recovery.PresenceTopic) ([]recovery.PresenceMember, error) {
	var members []recovery.PresenceMember
	var id, state string
	err := s.readPresence(ctx, s.queries.presenceMembers, t, func(rows pgx.Rows) error {
		members = nil
		_, err := pgx.ForEachRow(rows, []any{&id, &state}, func() error {
			members = append(members, recovery.PresenceMember{ID: fromText(id), State: json.RawMessage(state)})
			return nil
		})
		return err
	})
	return members, err
}

// Announced implements recovery.PresenceStore.
func (s *Sessions) Announced(ctx context.Context, t recovery.PresenceTopic) (recovery.PresenceList, error) {
	var list recovery.PresenceList
	var version *int64
	var id string
	var state *string
	err := s.readPresence(ctx, s.queries.presenceAnnounced, t, func(rows pgx.Rows) error {
		list = recovery.PresenceList{}
		_, err := pgx.ForEachRow(rows, []any{&version, &id, &state}, func() error {
			switch {
			case version != nil:
				list.Version = *version
			case state != nil:
				list.Members = append(list.Members, recovery.PresenceMember{ID: fromText(id), State: json.RawMessage(*state)})
			}
			return nil
		})
		return err
	})
	return list, err
}

// readPresence reads a topic, and retries while the error is transient.
func (s *Sessions) readPresence(ctx context.Context, query string, t recovery.PresenceTopic, read func(pgx.Rows) error) error {
	ask := func() error {
		var b pgx.Batch
		b.Queue(s.queries.byKey)
		b.Queue(query, toText(t.Namespace), t.Event, t.Room).Query(read)
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		return s.pool.SendBatch(ctx, &b).Close()
	}
	if err := retryTransient(ctx, ask); err != nil {
		return fmt.Errorf("read presence: %w", annotateSchemaErr(s.opts.Schema, err))
	}
	return nil
}
