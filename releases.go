package socketio

import (
	"context"
	"errors"
	"slices"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// releases are the releases of sessions by this node that may not be durable yet. The
// hub's lock guards them.
type releases struct {
	outcomes []*adapter.Receipt
	limit    int // of outcomes, before completed ones are removed
}

const minReleases = 64

func (e *releases) add(o *adapter.Receipt) {
	if len(e.outcomes) >= max(e.limit, minReleases) {
		e.outcomes = slices.DeleteFunc(e.outcomes, func(o *adapter.Receipt) bool {
			select {
			case <-o.Done():
				return true
			default:
				return false
			}
		})
		e.limit = 2 * len(e.outcomes) // so that each is checked a few times only
	}
	e.outcomes = append(e.outcomes, o)
}

// endLocked has the store release a session.
func (h *hub) endLocked(k recovery.Key, e recovery.Release) *adapter.Receipt {
	out := h.store.End(k, e)
	h.releases.add(out)
	return out
}

// ended returns nil when every session that this node has released is durable, and the
// first error otherwise.
func (h *hub) ended(ctx context.Context) error {
	h.mu.Lock()
	outcomes := slices.Clone(h.releases.outcomes)
	h.mu.Unlock()
	for _, out := range outcomes {
		if err := out.Wait(ctx); err != nil && !errors.Is(err, recovery.ErrLost) {
			return err // the others failed for the same reason
		}
	}
	return nil
}
