package pgaddress

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ParsePool parses the address of a database: a URL or a keyword string of libpq, with the
// parameters of pgx and its pool (default_query_exec_mode, pool_max_conns, …). Its errors
// quote no part of the address. All packages of this module use it, so that they accept the
// same addresses.
func ParsePool(address string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(address)
	return config, Error(err)
}

// Parse is like ParsePool, for a single connection: it ignores the parameters of a pool.
func Parse(address string) (*pgx.ConnConfig, error) {
	config, err := ParsePool(address)
	if err != nil {
		return nil, err
	}
	return config.ConnConfig, nil
}
