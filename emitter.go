package socketio

import (
	"strings"
)

// An Emitter puts events and operations into the log of a cluster without being a
// node of it: for workers, scheduled jobs and command lines. It is a [Target]
// that means everybody in the namespace "/".
//
// It has no sockets and reads nothing: what is local to a node, and what waits
// for answers, fails.
type Emitter struct{ Audience }

// NewEmitter returns an emitter to the log, for example of
// pgadapter.OpenEmitter.
func NewEmitter(log Publisher) *Emitter {
	r := route{sender: &sender{log: log, timeout: defaultEmitTimeout}, namespace: "/"}
	return &Emitter{Audience{r}}
}

// Of returns the emitter that means everybody in another namespace.
func (e *Emitter) Of(namespace string) *Emitter {
	if !strings.HasPrefix(namespace, "/") {
		namespace = "/" + namespace
	}
	return &Emitter{Audience{route{sender: e.r.sender, namespace: namespace}}}
}

func (e *Emitter) servers() route { return e.r }
