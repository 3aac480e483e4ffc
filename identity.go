package socketio

import (
	"context"

	"github.com/pgsocket/socketio/recovery"
)

// Identity returns what Recovery.Identity said of the client when it connected: "" for
// a client without an identity, or if the application does not tell them apart.
func (s *Socket) Identity() string { return s.identity }

// identify asks the application whose the client is, and completes the claim: from here
// on the private id is known by its hash.
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
		s.pid = "" // there is nothing to come back to
	}
	claim.PIDHash, claim.Identity = recovery.HashPID(s.pid), recovery.HashIdentity(s.pid, s.identity)
	return nil
}
