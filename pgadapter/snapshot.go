package pgadapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsocket/socketio/adapter"
)

// maxSnapshotToken bounds the size of a snapshot token, which lists running transactions.
const maxSnapshotToken = 32 << 10

// snapshotText matches the text form of a pg_snapshot.
var snapshotText = regexp.MustCompile(`^[0-9]{1,19}:[0-9]{1,19}:([0-9]{1,19}(,[0-9]{1,19})*)?$`)

// A snapshotToken is a result of the SQL function snapshot_token: the last batch that a
// snapshot sees, and the snapshot.
type snapshotToken struct {
	log      uint32
	position adapter.Position
	origin   int64
	seq      int64
	snapshot string
}

func parseSnapshotToken(text string) (snapshotToken, error) {
	var b snapshotToken
	fields := strings.Split(text, ".")
	if len(text) > maxSnapshotToken || len(fields) != 5 || !snapshotText.MatchString(fields[4]) {
		return b, adapter.ErrSnapshot
	}
	var numbers [4]int64
	for i := range numbers {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return b, adapter.ErrSnapshot
		}
		numbers[i] = n
	}
	if numbers[0] != int64(uint32(numbers[0])) || numbers[1] < 0 {
		return b, adapter.ErrSnapshot
	}
	return snapshotToken{uint32(numbers[0]), adapter.Position(numbers[1]), numbers[2], numbers[3], fields[4]}, nil
}

// snapshots resolves snapshot tokens.
type snapshots struct {
	base
	log   localLog
	slots chan struct{} // one for each token that is resolved concurrently
}

func newSnapshots(b base, log localLog) *snapshots {
	return &snapshots{base: b, log: log, slots: make(chan struct{}, max(1, b.opts.MaxConns/2))}
}

// resolve returns the start position of a snapshot token. Everything that the snapshot sees
// is in the log then: up to the position of the token, or in a skipped range after it.
func (r *snapshots) resolve(ctx context.Context, text string) (start adapter.StartPosition, err error) {
	b, err := parseSnapshotToken(text)
	if err != nil {
		return adapter.StartPosition{}, err
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return adapter.StartPosition{}, context.Cause(ctx)
	}
	var refused error
	err = retryTransient(ctx, func() error {
		start, err = r.ask(ctx, b)
		if errors.Is(err, adapter.ErrSnapshot) || errors.Is(err, adapter.ErrTrimmed) {
			refused, err = err, nil // the answer, not a failure
		}
		return err
	})
	return start, cmp.Or(refused, err)
}

// ask is resolve without repetition.
func (r *snapshots) ask(ctx context.Context, b snapshotToken) (adapter.StartPosition, error) {
	var number, low, origin, seq int64
	var packets int
	err := r.pool.QueryRow(ctx, r.queries.resolveSnapshot, batchID(b.position)).Scan(&number, &low, &origin, &seq, &packets)
	if err != nil {
		return adapter.StartPosition{}, fmt.Errorf("resolve snapshot token: %w", err)
	}
	switch at := max(adapter.Position(low), r.log.readableAfter(uint32(number))); {
	case uint32(number) != b.log:
		return adapter.StartPosition{}, adapter.ErrSnapshot
	case b.position < at:
		return adapter.StartPosition{}, adapter.ErrTrimmed
	case b.position > at && (origin != b.origin || seq != b.seq || position(batchID(b.position), packets-1) != b.position):
		return adapter.StartPosition{}, adapter.ErrSnapshot // of a timeline of the log that was lost
	}
	seen, err := r.seenAfter(ctx, batchID(b.position), b.snapshot)
	if err != nil {
		return adapter.StartPosition{}, err
	}
	reach := b.position
	for _, in := range seen {
		reach = max(reach, in.Last)
	}
	r.log.ensureRead(reach)
	return adapter.StartPosition{After: b.position, Skip: seen}, nil
}

// seenAfter returns the ranges of the log after a batch with transactions that a snapshot
// sees. It first relays those that are still in the outbox, one portion per transaction,
// so that the append lock is held for one portion at a time.
func (r *snapshots) seenAfter(ctx context.Context, batch int64, snapshot string) ([]adapter.Range, error) {
	for notify := true; ; {
		rows, err := r.pool.Query(ctx, r.queries.seen, batch, snapshot, notify)
		if err != nil {
			return nil, fmt.Errorf("resolve snapshot token: %w", err)
		}
		partly := false
		seen, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (in adapter.Range, err error) {
			var first, last pgtype.Int8
			err = row.Scan(&first, &last)
			partly = partly || !first.Valid
			return adapter.Range{First: adapter.Position(first.Int64), Last: adapter.Position(last.Int64)}, err
		})
		switch state := sqlState(err); {
		case state == "22P02" || state == "22023":
			return nil, adapter.ErrSnapshot // the numbers are not a valid snapshot, or one of the future
		case notify && queueFull(err):
			notify = false // all nodes poll
		case err != nil:
			return nil, fmt.Errorf("resolve snapshot token: %w", err)
		case !partly:
			return seen, nil
		}
	}
}
