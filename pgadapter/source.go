package pgadapter

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

// A source is where the connections of a node or an emitter come from.
type source struct {
	config *pgxpool.Config
	ofPool bool // of the application: with its tracer, its DialFunc and its hooks
}

func fromAddress(dsn string) (source, error) {
	config, err := pgaddress.ParsePool(dsn)
	return source{config: config}, err
}

func fromPool(pool *pgxpool.Pool) (source, error) {
	config, err := pgaddress.FromPool(pool)
	return source{config: config, ofPool: true}, err
}

// at returns the configuration for connections to another address.
func (s source) at(dsn string) (*pgxpool.Config, error) {
	config, err := pgaddress.ParsePool(dsn)
	if err != nil || !s.ofPool {
		return config, err
	}
	config.BeforeConnect, config.AfterConnect, config.BeforeClose = s.config.BeforeConnect, s.config.AfterConnect, s.config.BeforeClose
	to, from := config.ConnConfig, s.config.ConnConfig
	to.Tracer, to.DialFunc, to.LookupFunc, to.OnNotice, to.AfterConnect = from.Tracer, from.DialFunc, from.LookupFunc, from.OnNotice, from.AfterConnect
	return config, nil
}

// prepared returns the configurations for the pool of a node, which is that of s, and for the
// connection that listens.
func (s source) prepared(ctx context.Context, o *Options, w *pgaddress.Waiter) (config, listen *pgxpool.Config, err error) {
	if o.ListenDSN != "" {
		if listen, err = s.at(o.ListenDSN); err != nil {
			return nil, nil, fmt.Errorf("Options.ListenDSN: %w", err)
		}
	}
	if err := prepare(ctx, s.config, w); err != nil {
		return nil, nil, err
	}
	if listen == nil {
		return s.config, s.config, nil
	}
	if err := prepare(ctx, listen, w); err != nil {
		return nil, nil, fmt.Errorf("Options.ListenDSN: %w", err)
	}
	return s.config, listen, nil
}
