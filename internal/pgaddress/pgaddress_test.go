package pgaddress_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

func TestError_QuotesNoPartOfTheAddress(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"host=h user=u password=hunter2 port=x", "host=h user=u password = hunter2 port=x", "host=h password='hun ter2 port=1",
		"host=h password = 'hunter2' sslmode=nonsense", "postgres://u:hunter2@h:x/d", "postgres://u:hun/ter2@h/d", "postgres://u:hun%zter2@h/d",
		"postgres://u:hunter2@h/d?sslmode=nonsense", "postgres://h/d?password=hunter2&port=x", "hunter2",
		"host=h password=hunter2 sslmode=verify-full sslrootcert=/nowhere/ca.pem", "postgres://u:hunter2@[::1/d", "password = hunter2 connect_timeout=x",
	} {
		_, err := pgx.ParseConfig(dsn)
		_, poolErr := pgxpool.ParseConfig(dsn)
		for _, err := range []error{err, poolErr} {
			if err == nil {
				t.Errorf("%q was parsed", dsn)
				continue
			}
			got := pgaddress.Error(err)
			for _, part := range []string{"hun", "ter2"} {
				if strings.Contains(got.Error(), part) {
					t.Errorf("%q: %v", dsn, got)
				}
			}
			t.Log(got)
		}
	}
}

func TestError_Other(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	if got := pgaddress.Error(other); !errors.Is(got, other) {
		t.Errorf("%v", got)
	}
	if got := pgaddress.Error(nil); got != nil {
		t.Errorf("%v", got)
	}
}
