package migrations

import (
	"context"
	"errors"
	"io"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/source/iofs"
)

var _ database.Driver = (*driver)(nil)

// A driver lets golang-migrate run the files inside of our transaction. Its own driver for Postgres commits after each
// file, and keeps its books in whatever schema the connection happens to have.
type driver struct {
	ctx     context.Context //nolint:containedctx // of one call of migrate; golang-migrate's methods take none
	tx      *transaction
	version int
}

var errUnsupported = errors.New("not supported")

// migrate has golang-migrate go through the files, in a direction.
func (tx *transaction) migrate(ctx context.Context, direction func(*migrate.Migrate) error) error {
	source, err := iofs.New(embedded, "sql")
	if err != nil {
		return err
	}
	d := &driver{ctx: ctx, tx: tx, version: tx.version}
	m, err := migrate.NewWithInstance("embedded", source, "transaction", d)
	if err != nil {
		return err
	}
	err = direction(m)
	if errors.Is(err, migrate.ErrNoChange) {
		err = nil
	}
	sourceErr, driverErr := m.Close()
	return errors.Join(err, sourceErr, driverErr)
}

// Run implements database.Driver.
func (d *driver) Run(file io.Reader) error {
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	return d.tx.run(d.ctx, string(text))
}

// Version implements database.Driver.
func (d *driver) Version() (version int, dirty bool, err error) {
	if d.version <= 0 {
		return database.NilVersion, false, nil
	}
	return d.version, false, nil
}

// SetVersion implements database.Driver. The books are kept at the end of the transaction, see record.
func (d *driver) SetVersion(version int, _ bool) error {
	d.version = version
	return nil
}

// Lock implements database.Driver: the transaction has the lock.
func (d *driver) Lock() error { return nil }

// Unlock implements database.Driver.
func (d *driver) Unlock() error { return nil }

// Close implements database.Driver: the connection is the caller's.
func (d *driver) Close() error { return nil }

// Open implements database.Driver, for which there is no address.
func (d *driver) Open(string) (database.Driver, error) { return nil, errUnsupported }

// Drop implements database.Driver.
func (d *driver) Drop() error { return errUnsupported }
