package pgadapter

import "github.com/jackc/pgx/v5/pgxpool"

// A base is what the parts of a DB share.
type base struct {
	opts    *Options
	queries *queries
	pool    *pgxpool.Pool
}
