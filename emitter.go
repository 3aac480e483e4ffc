package socketio

import (
	"log/slog"
	"strings"
)

// An Emitter writes events and operations to the log of a cluster without being a node
// of it: for workers, scheduled jobs and command lines. As a [Target] it stands for all
// sockets of the namespace "/".
//
// It has no sockets and does not read the log: operations on a Local audience, and calls
// that wait for answers, fail.
type Emitter struct{ Audience }

// NewEmitter returns an emitter to the log, for example of
// pgadapter.OpenEmitter.
func NewEmitter(log Publisher) *Emitter {
	r := route{sender: &sender{log: log, timeout: defaultEmitTimeout}, namespace: "/"}
	return &Emitter{Audience{r}}
}

// Of returns the emitter to all sockets of another namespace.
func (e *Emitter) Of(namespace string) *Emitter {
	if !strings.HasPrefix(namespace, "/") {
		namespace = "/" + namespace
	}
	return &Emitter{Audience{route{sender: e.r.sender, namespace: namespace}}}
}

// WithTracer returns an emitter to the same sockets whose emits are observed by t, see
// Options.Tracer. When t fails, slog.Default receives a line.
func (e *Emitter) WithTracer(t Tracer) *Emitter {
	traced := *e.r.sender
	traced.tracing = newTracing(t, slog.Default())
	r := e.r
	r.sender = &traced
	return &Emitter{Audience{r}}
}

func (e *Emitter) servers() route { return e.r }
