package recovery

import "container/heap"

// parked holds the sessions of a Memory whose clients are away, ordered by expiry.
type parked struct {
	list  []*record
	bytes int // the approximate memory that they take
}

func (p *parked) add(r *record) {
	r.size = r.footprint()
	p.bytes += r.size
	heap.Push((*byExpiry)(p), r)
}

func (p *parked) remove(r *record) {
	p.bytes -= r.size
	heap.Remove((*byExpiry)(p), r.place)
}

// next returns the session that expires next, or nil.
func (p *parked) next() *record {
	if len(p.list) == 0 {
		return nil
	}
	return p.list[0]
}

// byExpiry implements heap.Interface for parked.
type byExpiry parked

// Len implements heap.Interface.
func (p *byExpiry) Len() int { return len(p.list) }

// Less implements heap.Interface.
func (p *byExpiry) Less(i, j int) bool { return p.list[i].expires.Before(p.list[j].expires) }

// Swap implements heap.Interface.
func (p *byExpiry) Swap(i, j int) {
	p.list[i], p.list[j] = p.list[j], p.list[i]
	p.list[i].place, p.list[j].place = i, j
}

// Push implements heap.Interface.
func (p *byExpiry) Push(x any) {
	r, _ := x.(*record)
	r.place = len(p.list)
	p.list = append(p.list, r)
}

// Pop implements heap.Interface.
func (p *byExpiry) Pop() any {
	last := len(p.list) - 1
	r := p.list[last]
	p.list[last] = nil
	p.list = p.list[:last]
	return r
}

// The measured bytes of memory that a session, a room interval and a value of its data
// take besides their texts.
const (
	sessionBytes  = 800
	intervalBytes = 56
	datumBytes    = 144
)

// footprint returns the approximate number of bytes of memory that a parked session takes.
func (r *record) footprint() int {
	n := sessionBytes + len(r.PIDHash) + len(r.Identity) + len(r.ID) + len(r.Namespace) + len(r.InitialOffset) + 16*cap(r.Skip)
	for i := range r.Rooms {
		n += len(r.Rooms[i].Room)
	}
	n += intervalBytes * cap(r.Rooms)
	for key, value := range r.Data {
		n += datumBytes + len(key) + cap(value)
	}
	for key, state := range r.Presence {
		n += datumBytes + len(key.Event) + len(key.Room) + cap(state)
	}
	return n
}
