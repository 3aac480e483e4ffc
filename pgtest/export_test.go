package pgtest

import (
	"context"
	"time"
)

// Sweep drops stale schemas in every call.
func Sweep(ctx context.Context, dsn string) error { return sweep(ctx, dsn, time.Now().Add(-stale)) }
