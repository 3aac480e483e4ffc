package socketio

import (
	"context"

	"github.com/pgsocket/socketio/recovery"
)

// Identity returns the result of Recovery.Identity for the client when it connected: ""
// for a client without an identity, or without that option.
func (s *Socket) Identity() string { return s.identity }

// identify gets the client's identity from the application, and completes the claim:
// from here on the hash stands for the private id.
func (s *Socket) identify(ctx context.Context, claim *recovery.ResumeRequest) error {
	server := s.namespace.server
	if f := server.opts.Recovery.Identity; f != nil {
		err := protect(func() (err error) {
			s.identity, err = f(ctx, s.Handshake())
			return err
		})
		if err != nil {
			return err
		}
	}
	if !s.recovers {
		s.pid = "" // there is no session to recover
	}
	claim.PIDHash, claim.Identity = recovery.HashPID(s.pid), recovery.HashIdentity(s.pid, s.identity)
	return nil
}
