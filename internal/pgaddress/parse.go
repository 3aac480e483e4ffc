package pgaddress

import (
	"errors"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errEmpty reports an address that was most likely forgotten.
var errEmpty = errors.New("the database's address is empty; " + giveOne + ", or set PGHOST, PGUSER and PGDATABASE")

const giveOne = "give one such as postgres://user:password@host:5432/database"

// ParsePool parses the address of a database: a URL or a keyword string of libpq, with the
// parameters of pgx and its pool (default_query_exec_mode, pool_max_conns, …). Its errors
// quote no part of the address. All packages of this module use it, so that they accept the
// same addresses.
//
// An empty address means the environment variables of libpq, as in libpq. If none of them
// names a database, it is an error: the program would otherwise connect to whatever Postgres
// there is on its own host.
func ParsePool(address string) (*pgxpool.Config, error) {
	if strings.TrimSpace(address) == "" && !named() {
		return nil, errEmpty
	}
	config, err := pgxpool.ParseConfig(address)
	return config, Error(err)
}

// named reports whether the environment says which database is meant.
func named() bool {
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// Parse is like ParsePool, for a single connection: it ignores the parameters of a pool.
func Parse(address string) (*pgx.ConnConfig, error) {
	config, err := ParsePool(address)
	if err != nil {
		return nil, err
	}
	return config.ConnConfig, nil
}
