package recovery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A memoryPresence is the presence of the sessions of a Memory, whose lock guards it.
type memoryPresence struct {
	topics  map[PresenceTopic]*memoryTopic
	changed []PresenceTopic // with changes that are not announced yet
	floor   int64           // the greatest version of a topic that was forgotten
	armed   bool            // announce is scheduled, or runs
	last    time.Time       // when it last ran
}

// A memoryTopic is one topic, while it has members or changes to announce.
type memoryTopic struct {
	version int64
	members map[string]json.RawMessage // by ID

	// The announced states of the members that have changed since, nil for those that
	// were none. The map is nil while nothing has changed.
	before map[string]json.RawMessage
}

// changePresenceLocked makes a change of the presence of a session.
func (m *Memory) changePresenceLocked(s *Session, change map[PresenceKey]json.RawMessage) {
	for key, state := range change {
		m.presence.change(PresenceTopic{s.Namespace, key}, s.ID, state)
	}
	if len(m.presence.changed) > 0 {
		m.armPresenceLocked()
	}
}

// leaveAllLocked ends the presence of a session that has ended.
func (m *Memory) leaveAllLocked(s *Session) {
	if len(s.Presence) == 0 {
		return
	}
	all := make(map[PresenceKey]json.RawMessage, len(s.Presence))
	for key := range s.Presence {
		all[key] = nil
	}
	m.changePresenceLocked(s, all)
}

func (p *memoryPresence) change(t PresenceTopic, id string, state json.RawMessage) {
	topic := p.topics[t]
	if topic == nil {
		if state == nil {
			return
		}
		if p.topics == nil {
			p.topics = make(map[PresenceTopic]*memoryTopic)
		}
		topic = &memoryTopic{version: p.floor, members: make(map[string]json.RawMessage)}
		p.topics[t] = topic
	}
	was := topic.members[id]
	if bytes.Equal(was, state) {
		return
	}
	if topic.before == nil {
		topic.before = make(map[string]json.RawMessage)
		p.changed = append(p.changed, t)
	}
	if _, known := topic.before[id]; !known {
		topic.before[id] = was
	}
	if state == nil {
		delete(topic.members, id)
	} else {
		topic.members[id] = state
	}
}

// armPresenceLocked schedules the next announcement.
func (m *Memory) armPresenceLocked() {
	if m.presence.armed {
		return
	}
	m.presence.armed = true
	time.AfterFunc(max(0, time.Until(m.presence.last.Add(PresenceInterval))), m.announce)
}

// announce publishes the changes. The next run is scheduled when all are in the log, so that
// versions have the order of the log.
func (m *Memory) announce() {
	m.mu.Lock()
	envelopes := m.presence.announcements()
	m.presence.last = time.Now()
	m.mu.Unlock()
	for _, e := range envelopes {
		_, _ = m.log.Publish(context.Background(), e) // waits for nothing but its queue, and does not fail
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.presence.armed = false
	if len(m.presence.changed) > 0 {
		m.armPresenceLocked()
	}
}

// announcements returns what has changed, and forgets topics without members.
func (p *memoryPresence) announcements() (envelopes []*adapter.Envelope) {
	for _, t := range p.changed {
		topic := p.topics[t]
		for _, a := range topic.announcements(t.Room) {
			if e, err := a.Envelope(t); err == nil { // states are valid JSON
				envelopes = append(envelopes, e)
			}
		}
		topic.before = nil
		if len(topic.members) == 0 {
			p.floor = max(p.floor, topic.version)
			delete(p.topics, t)
		}
	}
	p.changed = nil
	return envelopes
}

func (t *memoryTopic) announcements(room string) (all []*PresenceAnnouncement) {
	count, size := 0, 0
	for _, id := range slices.Sorted(maps.Keys(t.before)) {
		was, is := t.before[id], t.members[id]
		if bytes.Equal(was, is) {
			continue
		}
		if len(all) == 0 || count == announcedMembers || size > announcedBytes {
			t.version++
			all, count, size = append(all, &PresenceAnnouncement{Room: room, Version: t.version}), 0, 0
		}
		count++
		size += len(is)
		a := all[len(all)-1]
		switch {
		case was == nil:
			a.Entered = append(a.Entered, PresenceMember{id, is})
		case is == nil:
			a.Left = append(a.Left, id)
		default:
			a.Updated = append(a.Updated, PresenceMember{id, is})
		}
	}
	return all
}

// Members implements PresenceStore.
func (m *Memory) Members(_ context.Context, t PresenceTopic) ([]PresenceMember, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	topic := m.presence.topics[t]
	if topic == nil {
		return nil, nil
	}
	return sortedMembers(topic.members), nil
}

// Announced implements PresenceStore.
func (m *Memory) Announced(_ context.Context, t PresenceTopic) (PresenceList, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	topic := m.presence.topics[t]
	if topic == nil {
		return PresenceList{Version: m.presence.floor}, nil
	}
	members := topic.members
	if topic.before != nil {
		members = maps.Clone(members)
		maps.Copy(members, topic.before)
		maps.DeleteFunc(members, func(_ string, state json.RawMessage) bool { return state == nil })
	}
	return PresenceList{topic.version, sortedMembers(members)}, nil
}

func sortedMembers(members map[string]json.RawMessage) []PresenceMember {
	list := make([]PresenceMember, 0, len(members))
	for id, state := range members {
		list = append(list, PresenceMember{id, state})
	}
	slices.SortFunc(list, func(a, b PresenceMember) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
