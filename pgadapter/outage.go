package pgadapter

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// An outage logs what one goroutine tries again and again until Postgres answers: a warning when it begins, another one each
// outageInterval while it lasts, and a line when it is over, with the time from the first failure to the success. So the log
// does not grow with the number of attempts. The zero time stands for no outage.
type outage struct {
	logger       *slog.Logger
	begins, over string // the messages

	since  time.Time // the first failure
	logged time.Time // the last warning
}

// outageInterval is the time between two warnings about one outage.
const outageInterval = time.Minute

// failed records a failure.
func (o *outage) failed(ctx context.Context, err error, attrs ...slog.Attr) {
	now := time.Now()
	attrs = append(slices.Clip(attrs), slog.Any("error", err))
	switch {
	case o.since.IsZero():
		o.since = now
	case now.Sub(o.logged) < outageInterval:
		return
	default:
		attrs = append(attrs, o.lasted(now))
	}
	o.logged = now
	o.logger.LogAttrs(ctx, slog.LevelWarn, o.begins, attrs...) //nolint:sloglint // a constant of each outage
}

// succeeded records a success, which ends an outage.
func (o *outage) succeeded(ctx context.Context) {
	if o.since.IsZero() {
		return
	}
	o.logger.LogAttrs(ctx, slog.LevelInfo, o.over, o.lasted(time.Now())) //nolint:sloglint // as above
	o.since = time.Time{}
}

func (o *outage) lasted(now time.Time) slog.Attr {
	return slog.String("lasted", elapsed(o.since, now).Round(time.Millisecond).String())
}
