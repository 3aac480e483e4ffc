package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pgsocket/socketio"
)

// An operation is the body of POST /control/operate.
type operation struct {
	Do        string          `json:"do"` // join, leave or disconnect
	Namespace string          `json:"namespace"`
	Target    target          `json:"target"`
	Rooms     []socketio.Room `json:"rooms"`
}

func (n *node) operate(w http.ResponseWriter, r *http.Request) {
	var o operation
	if !decode(w, r, &o) {
		return
	}
	a := o.Target.of(n.server.Of(o.Namespace))
	var err error
	switch o.Do {
	case "join":
		err = a.Join(r.Context(), o.Rooms...)
	case "leave":
		err = a.Leave(r.Context(), o.Rooms...)
	case "disconnect":
		err = a.Disconnect(r.Context())
	default:
		err = fmt.Errorf("unknown operation %q", o.Do)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, true)
}

// A callRequest is the body of POST /control/call, /control/fetch and /control/servers.
type callRequest struct {
	Target    target `json:"target"`
	TimeoutMS int    `json:"timeout_ms"`
	Pad       int    `json:"pad"`  // bytes of the request, and of the answers that repeat it
	Load      string `json:"load"` // servers: text in the request, which the answers repeat
	How       string `json:"how"`  // servers: "hang", "wait" for a server event, or ""; call: "binary" or ""
}

// A callResult is the result of a call.
type callResult struct {
	Answers []string `json:"answers"` // sockets or servers that answered
	Silent  []string `json:"silent"`  // sockets that did not answer in time
	Lost    []string `json:"lost"`    // sockets that disconnected
	Nodes   []string `json:"nodes"`   // nodes that did not answer, with the error
	Bytes   int      `json:"bytes"`
	Error   string   `json:"error"`
	TookMS  int64    `json:"took_ms"`
}

func (p *callResult) fail(from string, err error) {
	if bad, ok := errors.AsType[*socketio.NodeError](err); ok {
		p.Nodes = append(p.Nodes, bad.Name+": "+bad.Err.Error())
		return
	}
	if _, ok := errors.AsType[*socketio.DisconnectError](err); ok {
		p.Lost = append(p.Lost, from)
		return
	}
	if from != "" && errors.Is(err, context.DeadlineExceeded) {
		p.Silent = append(p.Silent, from)
		return
	}
	p.Error = err.Error()
}

const (
	pinged      socketio.Request[string, string]                = "ping-all"
	solved      socketio.ServerRequest[callRequest, serverSide] = "solve"
	serverEvent socketio.ServerEvent[string]                    = "server-event"
	mirror      socketio.Request[[]byte, []byte]                = "mirror"
)

// A serverSide is the answer of a server to another.
type serverSide struct {
	Node string `json:"node"`
	Pad  string `json:"pad"`
}

func (n *node) callAll(w http.ResponseWriter, r *http.Request) {
	var q callRequest
	if !decode(w, r, &q) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(q.TimeoutMS)*time.Millisecond)
	defer cancel()
	p := callResult{Answers: []string{}}
	begun := time.Now()
	to := q.Target.of(n.server.Namespace)
	if q.How == "binary" {
		p.reflect(ctx, to, q.Pad)
	} else {
		for answer, err := range pinged.CallAll(ctx, to, strings.Repeat("x", q.Pad)) {
			if err != nil {
				p.fail(string(answer.From), err)
				continue
			}
			p.Answers = append(p.Answers, string(answer.From))
			p.Bytes += len(answer.Value)
		}
	}
	p.TookMS = time.Since(begun).Milliseconds()
	reply(w, p)
}

// reflect sends binary data that the sockets send back.
func (p *callResult) reflect(ctx context.Context, to socketio.Target, size int) {
	sent := make([]byte, size)
	for i := range sent {
		sent[i] = byte(i * 31 >> 3)
	}
	for answer, err := range mirror.CallAll(ctx, to, sent) {
		if err == nil && !bytes.Equal(answer.Value, sent) {
			err = fmt.Errorf("%[2]s returned %[3]d bytes, not the %[1]d that were sent", size, answer.From, len(answer.Value))
		}
		if err != nil {
			p.fail(string(answer.From), err)
			continue
		}
		p.Answers = append(p.Answers, string(answer.From))
		p.Bytes += len(answer.Value)
	}
}

// A oneCall is the body of POST /control/ask: a call of one socket, which answers with the text after a time; never, if
// that is negative.
type oneCall struct {
	Socket    socketio.SocketID `json:"socket"`
	Question  question          `json:"question"`
	TimeoutMS int               `json:"timeout_ms"`
}

type question struct {
	Text  string `json:"text"`
	After int    `json:"after"` // milliseconds
}

// A oneResult is the result of a oneCall. Its error is that of the call in one of the documented forms.
type oneResult struct {
	Answer string `json:"answer"`
	Error  string `json:"error"`
	TookMS int64  `json:"took_ms"`
}

const asked socketio.Request[question, string] = "ask"

func (n *node) askOne(w http.ResponseWriter, r *http.Request) {
	var q oneCall
	if !decode(w, r, &q) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(q.TimeoutMS)*time.Millisecond)
	defer cancel()
	begun := time.Now()
	answer, err := asked.Call(ctx, n.server.RemoteSocket(q.Socket), q.Question)
	reply(w, oneResult{answer, describeCallError(err), time.Since(begun).Milliseconds()})
}

// describeCallError returns the kind of a call's error.
func describeCallError(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*socketio.NodeError](err); ok {
		return e.Name + ": " + e.Err.Error()
	}
	if e, ok := errors.AsType[*socketio.DisconnectError](err); ok {
		return "disconnected: " + string(e.Reason)
	}
	for _, known := range []error{socketio.ErrNotConnected, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "other: " + err.Error()
}

func (n *node) fetch(w http.ResponseWriter, r *http.Request) {
	var q callRequest
	if !decode(w, r, &q) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(q.TimeoutMS)*time.Millisecond)
	defer cancel()
	p := callResult{Answers: []string{}}
	begun := time.Now()
	for s, err := range q.Target.of(n.server.Namespace).Fetch(ctx) {
		if err != nil {
			p.fail("", err)
			continue
		}
		p.Answers = append(p.Answers, string(s.ID()))
		pad, _ := socketio.Data[string]("pad").From(s)
		p.Bytes += len(pad)
	}
	p.TookMS = time.Since(begun).Milliseconds()
	reply(w, p)
}

// serverSide registers the server-side handlers.
func (n *node) serverSide() {
	solved.On(n.server.Namespace, func(ctx context.Context, _ string, q callRequest) (serverSide, error) {
		if q.How == "hang" {
			<-ctx.Done()
			return serverSide{}, context.Cause(ctx)
		}
		if q.How == "wait" {
			select {
			case <-n.serverEventSeen:
			case <-ctx.Done():
				return serverSide{}, context.Cause(ctx)
			}
		}
		return serverSide{n.name, q.Load + strings.Repeat("y", q.Pad)}, nil
	})
	serverEvent.On(n.server.Namespace, func(_ context.Context, _, v string) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.stats.ServerEvents = append(n.stats.ServerEvents, v); len(n.stats.ServerEvents) == 1 {
			close(n.serverEventSeen)
		}
		return nil
	})
}

func (n *node) servers(w http.ResponseWriter, r *http.Request) {
	var q callRequest
	if !decode(w, r, &q) {
		return
	}
	if q.How == "tell" {
		if err := serverEvent.Emit(r.Context(), n.server, n.name+strings.Repeat("z", q.Pad)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		reply(w, callResult{})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(q.TimeoutMS)*time.Millisecond)
	defer cancel()
	p := callResult{Answers: []string{}}
	begun := time.Now()
	for answer, err := range solved.Call(ctx, n.server.Namespace, q) {
		if err != nil {
			p.fail(answer.From, err)
			continue
		}
		p.Answers = append(p.Answers, answer.Value.Node)
		p.Bytes += len(answer.Value.Pad)
	}
	p.TookMS = time.Since(begun).Milliseconds()
	reply(w, p)
}

// A joinLeaveRounds puts everybody in room From into room Through and out again, Count times, from one goroutine. It
// emits an event with an even number when they are in, and one with an odd number when they are out.
type joinLeaveRounds struct {
	Publisher int           `json:"publisher"`
	Count     int           `json:"count"`
	From      socketio.Room `json:"from"`
	Through   socketio.Room `json:"through"`
}

func (n *node) joinLeave(w http.ResponseWriter, r *http.Request) {
	var o joinLeaveRounds
	if !decode(w, r, &o) {
		return
	}
	var last *socketio.Receipt
	for i := range o.Count {
		err := n.server.To(o.From).Join(r.Context(), o.Through)
		if err == nil {
			ticked.EmitAsync(n.server.To(o.Through), tick{publisher: o.Publisher, seq: 2 * i})
			err = n.server.To(o.Through).Leave(r.Context(), o.Through)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		last = ticked.EmitAsync(n.server.To(o.Through), tick{publisher: o.Publisher, seq: 2*i + 1})
	}
	if err := last.Wait(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, true)
}

func (n *node) nodes(w http.ResponseWriter, r *http.Request) {
	all, err := n.server.Nodes(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, all)
}

// decode decodes the body of a request, and reports whether it is valid.
func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
