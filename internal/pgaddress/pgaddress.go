// Package pgaddress parses addresses of databases without passwords in the errors, and
// waits for first connections.
package pgaddress

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error returns err without the address that could not be parsed, and without text that
// quotes a part of it: any part of a malformed address may be the password. Other errors,
// and nil, are returned unchanged.
func Error(err error) error {
	parse, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok {
		return err
	}
	bare := *parse
	bare.ConnString = ""
	text := strings.TrimPrefix(bare.Error(), "cannot parse ``: ")
	if strings.HasPrefix(text, "failed to parse as ") {
		if cause := bare.Unwrap(); cause != nil {
			text = strings.TrimSuffix(text, fmt.Sprintf(" (%s)", cause)) // a syntax error quotes a part of the address
		}
		text += "; " + giveOne
	}
	return errors.New("the database's address: " + text)
}
