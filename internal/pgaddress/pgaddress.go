// Package pgaddress keeps passwords out of the errors of addresses that cannot be parsed.
package pgaddress

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error returns err without the address that could not be parsed, and without what
// quotes a part of it. Any part of a malformed address may be the password, so that it
// cannot be masked. Other errors, and nil, are returned as they are.
func Error(err error) error {
	parse, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok {
		return err
	}
	bare := *parse
	bare.ConnString = ""
	text := strings.TrimPrefix(bare.Error(), "cannot parse ``: ")
	if cause := bare.Unwrap(); cause != nil && strings.HasPrefix(text, "failed to parse as ") {
		text = strings.TrimSuffix(text, fmt.Sprintf(" (%s)", cause)) // of the syntax: it quotes what it did not understand
	}
	return errors.New("the database's address: " + text)
}
