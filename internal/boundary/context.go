package boundary

import "context"

// WithValues returns ctx with the values of another context, which user code has derived from
// ctx, or should have: its end, and that of its deadline, is that of ctx. Values may be nil.
func WithValues(ctx, values context.Context) context.Context {
	if values == nil || values == ctx {
		return ctx
	}
	return withValues{ctx, values}
}

type withValues struct {
	context.Context //nolint:containedctx // it is a context

	values context.Context //nolint:containedctx // as above
}

// Value returns the value of the other context.
func (c withValues) Value(key any) any {
	if v := c.values.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}
