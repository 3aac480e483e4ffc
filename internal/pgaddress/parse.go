package pgaddress

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ParsePool parses the address of a database: a URL or a keyword string as libpq takes it,
// with the parameters of pgx and its pool (default_query_exec_mode, pool_max_conns, …). Its
// errors quote no part of the address. Every address of this module is parsed here, so that
// one that is valid in one place is valid in all.
func ParsePool(address string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(address)
	return config, Error(err)
}

// Parse is ParsePool for a single connection: the parameters of a pool are left out.
func Parse(address string) (*pgx.ConnConfig, error) {
	config, err := ParsePool(address)
	if err != nil {
		return nil, err
	}
	return config.ConnConfig, nil
}
