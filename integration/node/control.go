package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/pgsocket/socketio"
)

// routes returns all routes of a node.
//
//	POST /control/publish    emits events and streams their outcomes
//	GET  /control/sockets    the sockets of this node and their rooms
//	GET  /control/stats      counters
//	GET  /control/memory     the resident memory in bytes, after a collection
//	POST /control/kick?id=   disconnects a socket
//
// and those of operations in the whole cluster, see operate.go.
func (n *node) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", n.server)
	mux.HandleFunc("POST /control/publish", n.publish)
	mux.HandleFunc("GET /control/sockets", n.sockets)
	mux.HandleFunc("GET /control/stats", n.statistics)
	mux.HandleFunc("GET /control/memory", memory)
	mux.HandleFunc("POST /control/kick", n.kick)
	mux.HandleFunc("POST /control/operate", n.operate)
	mux.HandleFunc("POST /control/call", n.callAll)
	mux.HandleFunc("POST /control/ask", n.askOne)
	mux.HandleFunc("POST /control/fetch", n.fetch)
	mux.HandleFunc("POST /control/servers", n.servers)
	mux.HandleFunc("POST /control/join-leave", n.joinLeave)
	mux.HandleFunc("GET /control/nodes", n.nodes)
	n.routeClock(mux)
	mux.Handle("/debug/", http.DefaultServeMux)
	return mux
}

// A target selects sockets by rooms.
type target struct {
	Rooms  []socketio.Room `json:"rooms"`
	Except []socketio.Room `json:"except"`
}

// of returns the target's audience in the namespace: everybody, if it has no rooms.
func (t target) of(n *socketio.Namespace) socketio.Audience {
	a := n.All()
	if len(t.Rooms) > 0 {
		a = a.To(t.Rooms...)
	}
	return a.Except(t.Except...)
}

// A publication requests Count events from one goroutine, numbered from First. The event with number s goes to
// Targets[s % len(Targets)], or to everybody if there are no targets.
type publication struct {
	Publisher int      `json:"publisher"`
	First     int      `json:"first"`
	Count     int      `json:"count"`
	Namespace string   `json:"namespace"`
	Targets   []target `json:"targets"`
	PerSecond int      `json:"per_second"` // 0: as fast as possible
	TimeoutMS int      `json:"timeout_ms"` // of one emit; 0: 30 s
	Wait      bool     `json:"wait"`       // for each event before the next; otherwise EmitAsync
	Volatile  bool     `json:"volatile"`
	Pad       int      `json:"pad"`       // bytes added to each event
	PadEvery  int      `json:"pad_every"` // only to events whose number it divides; 0: to all
}

// A result is the outcome of one emit. It is streamed as a JSON array.
type result struct {
	seq        int
	start, end int64
	err        error
}

// pending is an emit whose outcome is not known yet.
type pending struct {
	result

	receipt *socketio.Receipt // nil: err is the outcome
}

func (n *node) publish(w http.ResponseWriter, r *http.Request) {
	var p publication
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if p.TimeoutMS == 0 {
		p.TimeoutMS = 30_000
	}
	if p.Namespace == "" {
		p.Namespace = "/"
	}
	queue := make(chan pending, 1<<16)
	go func() { // ends after the last emit, or with the request
		defer close(queue)
		n.emit(r.Context(), &p, queue)
	}()
	out := bufio.NewWriter(w)
	rc := http.NewResponseController(w)
	for e := range queue {
		if e.receipt != nil {
			ctx, cancel := context.WithTimeout(r.Context(), time.Duration(p.TimeoutMS)*time.Millisecond)
			e.err = e.receipt.Wait(ctx)
			cancel()
			e.end = n.clock()
		}
		text := ""
		if e.err != nil {
			text = e.err.Error()
		}
		_, _ = fmt.Fprintf(out, "[%d,%d,%d,%q]\n", e.seq, e.start, e.end, text)
		if len(queue) == 0 {
			_ = out.Flush() // fails only if the request has ended
			_ = rc.Flush()
		}
	}
	_ = out.Flush()
}

// emit emits from one goroutine.
func (n *node) emit(ctx context.Context, p *publication, queue chan<- pending) {
	ns := n.server.Of(p.Namespace)
	pad := strings.Repeat("x", p.Pad)
	begin := time.Now()
	for i := range p.Count {
		if p.PerSecond > 0 {
			at := begin.Add(time.Duration(i) * time.Second / time.Duration(p.PerSecond))
			select {
			case <-time.After(time.Until(at)):
			case <-ctx.Done():
				return
			}
		}
		t := tick{publisher: p.Publisher, seq: p.First + i}
		if p.PadEvery == 0 || t.seq%p.PadEvery == 0 {
			t.pad = pad
		}
		to := p.audience(ns, t.seq)
		e := pending{result: result{seq: t.seq, start: n.clock()}}
		if p.Wait {
			ctx, cancel := context.WithTimeout(ctx, time.Duration(p.TimeoutMS)*time.Millisecond)
			e.err = ticked.Emit(ctx, to, t)
			cancel()
			e.end = n.clock()
		} else {
			e.receipt = ticked.EmitAsync(to, t)
		}
		select {
		case queue <- e:
		case <-ctx.Done():
			return
		}
	}
}

func (p *publication) audience(ns *socketio.Namespace, seq int) socketio.Target {
	a := ns.All()
	if len(p.Targets) > 0 {
		a = p.Targets[seq%len(p.Targets)].of(ns)
	}
	if p.Volatile {
		a = a.Volatile()
	}
	return a
}

func (n *node) sockets(w http.ResponseWriter, _ *http.Request) {
	all := []socketState{}
	for _, name := range []string{"/", "/chat", "/guarded"} {
		for s := range n.server.Of(name).Sockets() {
			all = append(all, n.describe(s))
		}
	}
	reply(w, all)
}

func (n *node) statistics(w http.ResponseWriter, _ *http.Request) {
	n.mu.Lock()
	s := n.stats
	s.Refused, s.Disconnects = maps.Clone(s.Refused), maps.Clone(s.Disconnects)
	s.Expired, s.ServerEvents = slices.Clone(s.Expired), slices.Clone(s.ServerEvents)
	n.mu.Unlock()
	reply(w, s)
}

func memory(w http.ResponseWriter, _ *http.Request) {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/statm")
	var size, resident int
	if err == nil {
		_, err = fmt.Sscan(string(status), &size, &resident)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, resident*os.Getpagesize())
}

func (n *node) kick(w http.ResponseWriter, r *http.Request) {
	id := socketio.SocketID(r.FormValue("id"))
	for s := range n.server.Sockets() {
		if s.ID() != id {
			continue
		}
		if err := s.Disconnect(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		reply(w, true)
		return
	}
	http.Error(w, "no such socket", http.StatusNotFound)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(data) // fails only if the client has disconnected
}
