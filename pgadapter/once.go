package pgadapter

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter"
)

var (
	// ErrOnceKey reports a OnceKey with a part that is empty or too long.
	ErrOnceKey = errors.New("unusable key of a request")

	// ErrOnceContent reports a request with the key of an earlier one that had another Content. It had no effect.
	ErrOnceContent = errors.New("key was used for a request with another content")

	// ErrOutcomeUnknown reports that Once could not find out whether the request had its effects: Postgres did not answer, or
	// ctx ended. The same request finds it out, or has the effects. A handler that returns this error should leave its
	// client without an answer, so that the option retries of the client sends the request again.
	ErrOutcomeUnknown = errors.New("outcome of the request is unknown")
)

// errOnceEnded reports a function that ended the transaction of Once.
var errOnceEnded = errors.New("the function ended the transaction; only Once does")

// errNoAnswer reports a request whose effects were committed without its answer.
var errNoAnswer = errors.New("the request had its effects, but its function ended the transaction before the answer was stored")

// maxOnceName is the size of the parts of a OnceKey, in bytes.
const maxOnceName = 1000

// maxAnswer is the size of an answer, in bytes of JSON.
const maxAnswer = 1 << 20

// A OnceKey identifies a request. Client, Event and Key have 1 to 1,000 bytes each, and are kept as one hash.
type OnceKey struct {
	// Client is the client that makes the request, such as the id of its user (Socket.Identity). A
	// key is valid for one client: nobody else receives the answer.
	Client string

	// Event is the name of the request. A key is valid for one event.
	Event string

	// Key is what the client has chosen for this request, and sends with each repetition, such as
	// a random UUID.
	Key string

	// Content is what the client requests, usually the whole payload. A repetition has to have the same
	// JSON, or is ErrOnceContent. Nil: the content is not compared.
	Content any
}

// OnceOptions configures Once. The zero value suits most programs.
type OnceOptions struct {
	// Schema is the schema where package migrations created the tables. Default: socketio.
	Schema string

	// Window is how long the answer to a request is kept for repetitions. After it, the same key is a new
	// request. Default: 24 hours. An answer takes about 250 bytes of disk, and its JSON.
	Window time.Duration

	// Isolation is the isolation level of the transaction: sql.LevelReadCommitted,
	// sql.LevelRepeatableRead or sql.LevelSerializable. Default: that of the database or the role.
	Isolation sql.IsolationLevel

	// Patience is how long Once starts again after failures that may pass, such as a lost connection, before
	// it returns ErrOutcomeUnknown. Default: 30 s.
	Patience time.Duration

	// MaxIdle is how long the transaction may wait for the next statement before Postgres ends it (idle_in_transaction_session_timeout,
	// unless that is shorter), so that a node that is frozen does not hold up the repetition at another node. Default: 30 s.
	MaxIdle time.Duration
}

// A Beginner begins transactions: a *pgxpool.Pool, a *pgxpool.Conn or a *pgx.Conn. For a *sql.DB, see OnceSQL.
type Beginner interface {
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// Once runs the effects of a request once, however often the client sends it, and answers each repetition with
// the first answer. It is for the handler of a socketio.Request:
//
//	Place.On(io, func(ctx context.Context, s *socketio.Socket, o Order) (Placed, error) {
//		key := pgadapter.OnceKey{Client: s.Identity(), Event: string(Place), Key: o.Key, Content: o}
//		return pgadapter.Once(ctx, pool, key, nil, func(tx pgx.Tx) (Placed, error) {
//			… // insert the order, EmitTx
//		})
//	})
//
// Once begins a transaction, claims the key in it, calls run, stores the JSON of the answer, and commits. So the rows and
// events that run writes with tx, and the answer, exist together or not at all. For
// a key that is claimed by an open transaction, at this or another node, Once waits for the end of that transaction. If it is
// committed, Once returns the stored answer and does not call run; if it is rolled back, Once calls run. Once holds a
// connection while it waits.
//
// An error of run rolls everything back. It is returned and not stored, so the next repetition calls
// run again. An answer that is to be final, such as "sold out", is a value of R rather than an error.
//
// Once starts again, with a new transaction, when the connection is lost, also during the commit, and after a serialization failure or a deadlock
// (SQLSTATE 40001, 40P01) of its own statements or in the error of run. So run may be called more than once, although only
// one of these transactions is committed. It should have no effects except through tx, whose Commit and Rollback are refused.
//
// The answer to a repetition is decoded from JSON, so R has to keep its content there. Binary data has to be in
// fields of type socketio.Binary or []byte. An answer of more than 1 MiB is adapter.ErrTooLarge, and rolled back.
//
// Keys belong to the database role, which needs allow_emit if it is not the role of the nodes. A node of the cluster
// deletes old answers. Once is safe for concurrent use as far as db is.
func Once[R any](ctx context.Context, db Beginner, key OnceKey, opts *OnceOptions, run func(tx pgx.Tx) (R, error)) (R, error) {
	return runOnce(ctx, key, opts, func(ctx context.Context, level sql.IsolationLevel) (onceTx, func() (R, error), error) {
		tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgxLevels[level]})
		if err != nil && isClosed(db) {
			err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
		if err != nil {
			return nil, nil, err
		}
		return pgxOnceTx{tx}, func() (R, error) { return run(openTx{tx}) }, nil
	})
}

// isClosed reports whether db is a connection that was lost. A pool makes another one.
func isClosed(db Beginner) bool {
	switch c := db.(type) {
	case *pgx.Conn:
		return c.IsClosed()
	case *pgxpool.Conn:
		return c.Conn().IsClosed()
	}
	return false
}

// OnceSQL is Once for database/sql, with any driver for Postgres. The function must not end tx. EmitTx takes SQLTx(tx).
func OnceSQL[R any](ctx context.Context, db *sql.DB, key OnceKey, opts *OnceOptions, run func(tx *sql.Tx) (R, error)) (R, error) {
	return runOnce(ctx, key, opts, func(ctx context.Context, level sql.IsolationLevel) (onceTx, func() (R, error), error) {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
		if err != nil {
			return nil, nil, err
		}
		return sqlOnceTx{sqlTx{tx}}, func() (R, error) { return run(tx) }, nil
	})
}

// pgxLevels has the isolation levels of Postgres.
//
//nolint:gochecknoglobals // a constant
var pgxLevels = map[sql.IsolationLevel]pgx.TxIsoLevel{
	sql.LevelDefault: "", sql.LevelReadCommitted: pgx.ReadCommitted,
	sql.LevelRepeatableRead: pgx.RepeatableRead, sql.LevelSerializable: pgx.Serializable,
}

func (o *OnceOptions) withDefaults() (OnceOptions, error) {
	var c OnceOptions
	if o != nil {
		c = *o
	}
	setDefault(&c.Schema, "socketio")
	setDefault(&c.Window, 24*time.Hour)
	setDefault(&c.Patience, 30*time.Second)
	setDefault(&c.MaxIdle, 30*time.Second)
	_, known := pgxLevels[c.Isolation]
	switch {
	case !known:
		return c, fmt.Errorf("OnceOptions.Isolation %v is not one of Postgres", c.Isolation)
	case c.Window < time.Millisecond || c.MaxIdle < time.Millisecond || c.Patience < 0:
		return c, errors.New("OnceOptions.Window and MaxIdle are at least 1 ms, and Patience is not negative")
	}
	return c, nil
}

// A onceTx is the transaction of a request.
type onceTx interface {
	Tx
	commit(ctx context.Context) error
	rollback(ctx context.Context) error
}

type pgxOnceTx struct{ tx pgx.Tx }

func (t pgxOnceTx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return t.tx.QueryRow(ctx, query, args...)
}
func (t pgxOnceTx) commit(ctx context.Context) error   { return t.tx.Commit(ctx) }
func (t pgxOnceTx) rollback(ctx context.Context) error { return t.tx.Rollback(ctx) }

type sqlOnceTx struct{ sqlTx }

func (t sqlOnceTx) commit(context.Context) error   { return t.tx.Commit() }
func (t sqlOnceTx) rollback(context.Context) error { return t.tx.Rollback() }

// An openTx is the transaction of Once for its function, which cannot end it.
type openTx struct{ pgx.Tx }

// Commit implements pgx.Tx.
func (openTx) Commit(context.Context) error { return errOnceEnded }

// Rollback implements pgx.Tx.
func (openTx) Rollback(context.Context) error { return errOnceEnded }

// A passingError is a failure after which Once starts again.
type passingError struct{ err error }

// Error implements error.
func (e *passingError) Error() string { return e.err.Error() }

// Unwrap returns the failure.
func (e *passingError) Unwrap() error { return e.err }

// A onceRun is one call of Once.
type onceRun[R any] struct {
	opts             OnceOptions
	request, content []byte
	begin            func(ctx context.Context, level sql.IsolationLevel) (onceTx, func() (R, error), error)
}

func runOnce[R any](
	ctx context.Context, key OnceKey, opts *OnceOptions,
	begin func(context.Context, sql.IsolationLevel) (onceTx, func() (R, error), error),
) (R, error) {
	var none R
	o, err := opts.withDefaults()
	if err != nil {
		return none, fmt.Errorf("once: %w", err)
	}
	r := onceRun[R]{opts: o, begin: begin}
	if r.request, r.content, err = key.hashes(); err != nil {
		return none, fmt.Errorf("once: %w", err)
	}
	pause := backoff{low: 2 * time.Millisecond, high: 500 * time.Millisecond}
	var deadline time.Time
	for {
		answer, err := r.attempt(ctx)
		passing, again := errors.AsType[*passingError](err)
		if !again {
			return answer, err
		}
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(o.Patience)
		}
		if ctx.Err() != nil || now.After(deadline) || !pause.wait(ctx) {
			return none, fmt.Errorf("once: %w: %w", ErrOutcomeUnknown, passing.err)
		}
	}
}

// attempt runs one transaction. Its error is a *passingError if another one may succeed.
func (r *onceRun[R]) attempt(ctx context.Context) (answer R, err error) {
	var none R
	tx, run, err := r.begin(ctx, r.opts.Isolation)
	if err != nil {
		return none, r.failed(ctx, "begin", err)
	}
	open := true
	rollback := func() error {
		open = false
		// Also when ctx has ended, so that the connection can be used again.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
		defer cancel()
		return tx.rollback(ctx)
	}
	defer func() {
		if open { // after an error of a statement, or a panic of run
			_ = rollback()
		}
	}()

	stored, err := r.claim(ctx, tx)
	if err != nil || stored != nil {
		return r.decoded(stored, err)
	}
	if answer, err = run(); err != nil {
		if lost := rollback(); isLost(lost) || class(sqlStateOf(err)) == "40" {
			err = &passingError{err} // nothing was committed
		}
		return none, err
	}
	if err := r.store(ctx, tx, answer); err != nil {
		return none, err
	}
	open = false
	if err := tx.commit(ctx); err != nil {
		return none, r.failed(ctx, "commit", err)
	}
	return answer, nil
}

// claim claims the request for tx, or returns the answer that it had.
func (r *onceRun[R]) claim(ctx context.Context, tx onceTx) (stored []byte, err error) {
	var claimed, same bool
	var answer *string
	err = tx.QueryRow(ctx, loadQuery("request_claim", r.opts.Schema), r.request, r.content, r.opts.Window.Milliseconds(), r.opts.MaxIdle.Milliseconds()).
		Scan(&claimed, &same, &answer)
	switch state := sqlStateOf(err); {
	case state == "55P03" || state == "57014": // lock_timeout or statement_timeout, while it waits for another transaction
		return nil, &passingError{fmt.Errorf("claim the request: %w", err)}
	case err != nil:
		return nil, r.failed(ctx, "claim the request", err)
	case claimed:
		return nil, nil
	case !same:
		return nil, fmt.Errorf("once: %w", ErrOnceContent)
	case answer == nil:
		return nil, fmt.Errorf("once: %w", errNoAnswer)
	}
	return hex.DecodeString(*answer)
}

func (r *onceRun[R]) decoded(stored []byte, err error) (answer R, _ error) {
	if err != nil {
		return answer, err
	}
	if err := decodeAnswer(stored, &answer); err != nil {
		return answer, fmt.Errorf("once: the stored answer is not a %T: %w", answer, err)
	}
	return answer, nil
}

// store stores the answer in tx.
func (r *onceRun[R]) store(ctx context.Context, tx onceTx, answer R) error {
	text, err := encodeJSON(answer)
	if err != nil {
		return fmt.Errorf("once: encode the answer: %w", err)
	}
	if len(text) > maxAnswer {
		return fmt.Errorf("once: %w: an answer of %d bytes, at most %d", adapter.ErrTooLarge, len(text), maxAnswer)
	}
	var stored bool
	err = tx.QueryRow(ctx, loadQuery("request_answer", r.opts.Schema), r.request, text, r.opts.Window.Milliseconds()).Scan(&stored)
	switch {
	case err != nil:
		return r.failed(ctx, "store the answer", err)
	case !stored:
		return fmt.Errorf("once: %w", errOnceEnded)
	}
	return nil
}

// failed returns the error of a statement of Once itself.
func (r *onceRun[R]) failed(ctx context.Context, what string, err error) error {
	if errors.Is(err, sql.ErrTxDone) || errors.Is(err, pgx.ErrTxClosed) {
		err = errOnceEnded
	}
	err = fmt.Errorf("%s: %w", what, annotateSchemaErr(r.opts.Schema, err))
	if ctx.Err() != nil || passes(err) {
		return &passingError{err}
	}
	return fmt.Errorf("once: %w", err)
}

// isLost reports whether the error of a rollback shows that the connection was lost.
func isLost(rollback error) bool {
	return rollback != nil && !errors.Is(rollback, sql.ErrTxDone) && !errors.Is(rollback, pgx.ErrTxClosed)
}

// passes reports whether a transaction may succeed later, with any driver.
func passes(err error) bool {
	if errors.Is(err, errOnceEnded) || errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, pgx.ErrTxCommitRollback) {
		return false
	}
	if _, refused := errors.AsType[*pgconn.ConnectError](err); refused {
		return true
	}
	state := sqlStateOf(err)
	switch class(state) {
	case "", // the connection failed
		"08", "40", "58": // as in isTransient
		return true
	case "53": // insufficient resources, except a limit of this schema
		return state != "53400"
	case "57": // shutdown or crash, except statement_timeout
		return state != "57014"
	}
	return state == "25P03" || state == "25P04" || state == "25006" // idle_in_transaction_session_timeout, transaction_timeout; a standby, for now
}
