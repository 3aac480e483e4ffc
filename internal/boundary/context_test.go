package boundary

import (
	"context"
	"errors"
	"testing"
)

func TestWithValues_EndsWithContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	type other struct{}
	why := errors.New("why")
	for name, derive := range map[string]func(context.Context) context.Context{
		"derived": func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, 1) },
		"cancelled": func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, key{}, 1))
			cancel()
			return ctx
		},
		"not derived": func(context.Context) context.Context { return context.WithValue(context.Background(), key{}, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), other{}, 2))
			with := WithValues(ctx, derive(ctx))
			child, stop := context.WithCancel(with)
			defer stop()
			if with.Value(key{}) != 1 || with.Value(other{}) != 2 || with.Err() != nil || child.Err() != nil {
				t.Errorf("values %v, %v, errors %v, %v", with.Value(key{}), with.Value(other{}), with.Err(), child.Err())
			}
			cancel(why)
			<-child.Done()
			if with.Err() == nil || name == "derived" && !errors.Is(context.Cause(child), why) {
				t.Errorf("error %v, cause %v", with.Err(), context.Cause(child))
			}
		})
	}
	ctx := t.Context()
	if WithValues(ctx, nil) != ctx || WithValues(ctx, ctx) != ctx {
		t.Error("no values, and another context")
	}
}
