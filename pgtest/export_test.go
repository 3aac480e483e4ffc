package pgtest

import (
	"context"
	"time"
)

// Sweep drops stale schemas, however often it is asked to.
func Sweep(ctx context.Context, dsn string) error { return sweep(ctx, dsn, time.Now().Add(-stale)) }
