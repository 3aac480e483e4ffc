package pgaddress_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

func TestParse_ParametersOfThePool(t *testing.T) {
	t.Parallel()
	const address = "postgres://u@h/d?pool_max_conns=7&pool_min_conns=1&pool_max_conn_lifetime=1h&pool_health_check_period=1m&default_query_exec_mode=exec&application_name=a"
	config, err := pgaddress.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.RuntimeParams) != 1 || config.RuntimeParams["application_name"] != "a" {
		t.Errorf("parameters for Postgres: %v", config.RuntimeParams)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		state   string
		timeout time.Duration
		took    time.Duration
		says    string
	}{
		"starting":         {"57P03", 3 * time.Second, 3 * time.Second, "no connection to Postgres"},
		"default":          {"53300", 0, pgaddress.DefaultWait, "no connection to Postgres"},
		"wrong password":   {"28P01", time.Second, time.Second, "password of the address is refused"},
		"not at all":       {"57P03", -1, 0, "no connection to Postgres"},
		"no such database": {"3D000", 0, 0, "3D000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := pgaddress.Wait(t.Context(), row.timeout, slog.New(slog.DiscardHandler), func(context.Context) error {
					return &pgconn.PgError{Code: row.state}
				})
				if err == nil || !strings.Contains(err.Error(), row.says) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); took > row.took || took < row.took-time.Second {
					t.Errorf("tried for %v", took)
				}
			})
		})
	}
}
