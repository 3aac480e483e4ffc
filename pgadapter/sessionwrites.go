package pgadapter

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A writeSet is a set of writes of different sessions, as columns for a few
// statements.
type writeSet struct {
	fence            fence
	pids             []string // of all sessions that this node must own
	opens            openRows
	joins, leaves    roomRows
	sets, unsets     dataRows
	enters, exits    presenceRows
	parks, deletions endRows
}

// changesPresence reports whether the writes may change the presence of sessions.
func (f *writeSet) changesPresence() bool {
	return len(f.enters.pids)+len(f.exits.pids)+len(f.deletions.pids) > 0
}

func (f *writeSet) add(w *write) {
	if w.open != nil {
		f.addOpen(w, w.open)
		return
	}
	f.pids = append(f.pids, w.key.PIDHash)
	switch {
	case w.change != nil:
		f.addChanges(w)
	case w.release.Park || w.released:
		f.parks.add(w.key)
		f.parks.at = append(f.parks.at, f.clamp(w, w.release.At))
		f.parks.last = append(f.parks.last, w.release.Last.String())
		f.parks.released = append(f.parks.released, w.released)
	default:
		f.deletions.add(w.key)
	}
}

// clamp maps a position of a write to the current timeline of the log.
func (f *writeSet) clamp(w *write, p adapter.Position) int64 {
	return f.fence.timeline.clamp(p, w.timeline)
}

func (f *writeSet) addOpen(w *write, s *recovery.Session) {
	o := &f.opens
	o.add(s.Key)
	o.sids = append(o.sids, toText(s.ID))
	o.namespaces = append(o.namespaces, toText(s.Namespace))
	o.offsets = append(o.offsets, offsetText(s.InitialOffset))
	o.seen = append(o.seen, f.ranges(w, s.Skip))
	o.identities = append(o.identities, s.Identity)
	o.windows = append(o.windows, s.Window.Milliseconds())
	o.opened = append(o.opened, f.clamp(w, s.Opened))
	o.covered = append(o.covered, f.clamp(w, s.Applied))
	for _, interval := range s.Rooms {
		left := stillIn
		if interval.Ended {
			left = f.clamp(w, interval.Left)
		}
		f.joins.add(s.Key, interval.Room, f.clamp(w, interval.Joined), left)
	}
	for key, value := range s.Data {
		f.sets.add(s.Key, key, value)
	}
	for key, state := range s.Presence {
		f.enters.add(s.Key, key, state)
	}
}

// ranges returns ranges as a flat array literal of Postgres; "" for none.
func (f *writeSet) ranges(w *write, ranges []adapter.Range) string {
	if len(ranges) == 0 {
		return ""
	}
	b := []byte{'{'}
	for i, in := range ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, f.clamp(w, in.First), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, f.clamp(w, in.Last), 10)
	}
	return string(append(b, '}'))
}

// rangesOf is the inverse of ranges.
func rangesOf(flat []int64) []adapter.Range {
	var ranges []adapter.Range
	for i := 0; i+1 < len(flat); i += 2 {
		ranges = append(ranges, adapter.Range{First: adapter.Position(flat[i]), Last: adapter.Position(flat[i+1])})
	}
	return ranges
}

// addChanges adds rows with the combined effect of the changes of a write. The statement
// for left rooms runs before the one for joined rooms, so an interval that begins and
// ends here is one row.
func (f *writeSet) addChanges(w *write) {
	m := roomDelta{rows: make(map[string]int), in: make(map[string]bool), data: make(map[string]json.RawMessage), presence: make(map[recovery.PresenceKey]json.RawMessage)}
	m.add(f, w, w.change)
	for _, later := range w.more {
		m.add(f, w, later.change)
	}
	for key, value := range m.data {
		if value == nil {
			f.unsets.add(w.key, key, nil)
		} else {
			f.sets.add(w.key, key, value)
		}
	}
	for key, state := range m.presence {
		if state == nil {
			f.exits.add(w.key, key, nil)
		} else {
			f.enters.add(w.key, key, state)
		}
	}
}

// A roomDelta is the combined effect of changes of one session.
type roomDelta struct {
	rows map[string]int  // of each room that was joined, its newest row
	in   map[string]bool // of each room that was joined or left, whether the session is in it
	data map[string]json.RawMessage

	presence map[recovery.PresenceKey]json.RawMessage
}

func (m *roomDelta) add(f *writeSet, w *write, c *recovery.Change) {
	at := f.clamp(w, c.At)
	for _, room := range c.Leave {
		switch in, known := m.in[room]; {
		case !known:
			f.leaves.add(w.key, room, at, stillIn)
		case in:
			f.joins.left[m.rows[room]] = at
		}
		m.in[room] = false
	}
	for _, room := range c.Join {
		if row, known := m.rows[room]; known && f.joins.at[row] == at {
			f.joins.left[row] = stillIn // joined again at the same position
		} else {
			m.rows[room] = len(f.joins.rooms)
			f.joins.add(w.key, room, at, stillIn)
		}
		m.in[room] = true
	}
	maps.Copy(m.data, c.Data)
	maps.Copy(m.presence, c.Presence)
}

// An owner is the epoch and the node of a session.
type owner struct{ epoch, node int64 }

// flush makes writes durable in one transaction and one round trip, and returns the result
// of each; or an error, and then the outcome is unknown and may be that none is durable.
//
// The statements are sent together and commit together. Each changes only sessions that
// this node owns, whatever the statements before it returned.
func (s *Sessions) flush(ctx context.Context, writes []*write) ([]error, error) {
	f := writeSet{fence: s.owner.fence()}
	for _, w := range writes {
		f.add(w)
	}
	node := f.fence.node
	owners := make(map[string]owner, len(writes))
	b := f.batch(s.queries, owners)
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	err := s.pool.SendBatch(ctx, b).Close()
	if isNodeGone(err) {
		s.owner.markFenced(node)
		return nil, errNodeGone
	}
	if err != nil {
		return nil, err
	}
	if f.changesPresence() {
		s.presenceChanged()
	}
	results := make([]error, len(writes))
	for i, w := range writes {
		t, there := owners[w.key.PIDHash]
		results[i] = w.result(t, there, node)
	}
	return results, nil
}

// result returns the result of a write, given the owner of the session before the write,
// or after it if the write opened the session.
func (w *write) result(t owner, there bool, node int64) error {
	switch {
	case there && t.epoch == w.key.Epoch && t.node == node:
		return nil
	case w.repeated && w.release != nil && (!there || t.epoch == w.key.Epoch && t.node == 0):
		return nil // an earlier attempt with a lost answer has released it
	}
	return recovery.ErrLost
}

// batch returns the statements, sessions before their rooms and data. They store the
// previous owners of the sessions in owners.
func (f *writeSet) batch(q *queries, owners map[string]owner) *pgx.Batch {
	b := &pgx.Batch{}
	f.fence.queue(b, q)
	node := f.fence.node
	note := func(rows pgx.Rows) error {
		var pid string
		var t owner
		_, err := pgx.ForEachRow(rows, []any{&pid, &t.epoch, &t.node}, func() error {
			owners[pid] = t
			return nil
		})
		return err
	}
	if o := &f.opens; len(o.pids) > 0 {
		b.Queue(q.sessionOpen, node, o.pids, o.epochs, o.sids, o.namespaces, o.windows, o.opened, o.covered, o.offsets, o.seen, o.identities).Query(note)
	}
	if len(f.pids) > 0 {
		b.Queue(q.sessionState, f.pids).Query(note)
	}
	if r := &f.leaves; len(r.pids) > 0 {
		b.Queue(q.roomLeave, node, r.pids, r.epochs, r.rooms, r.at)
	}
	if r := &f.joins; len(r.pids) > 0 {
		b.Queue(q.roomJoin, node, r.pids, r.epochs, r.rooms, r.at, r.left)
	}
	if r := &f.unsets; len(r.pids) > 0 {
		b.Queue(q.dataDelete, node, r.pids, r.epochs, r.keys)
	}
	if r := &f.sets; len(r.pids) > 0 {
		b.Queue(q.dataSet, node, r.pids, r.epochs, r.keys, r.values)
	}
	if r := &f.exits; len(r.pids) > 0 {
		b.Queue(q.presenceDelete, node, r.pids, r.epochs, r.events, r.rooms)
	}
	if r := &f.enters; len(r.pids) > 0 {
		b.Queue(q.presenceSet, node, r.pids, r.epochs, r.events, r.rooms, r.states)
	}
	if r := &f.parks; len(r.pids) > 0 {
		b.Queue(q.sessionPark, node, r.pids, r.epochs, r.at, r.last, r.released)
	}
	if r := &f.deletions; len(r.pids) > 0 {
		b.Queue(q.sessionDelete, node, r.pids, r.epochs)
	}
	return b
}
