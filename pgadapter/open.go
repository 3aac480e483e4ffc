package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// oldestSchema and schemaVersion are the schema versions that the statements support: migrations.Oldest
// to migrations.Latest. A later version is supported if its meta.works_from says so.
const (
	oldestSchema  = 1
	schemaVersion = 1
)

var (
	_ adapter.Adapter          = (*DB)(nil)
	_ adapter.SnapshotResolver = (*DB)(nil)
	_ recovery.Store           = (*Sessions)(nil)
	_ recovery.Retainer        = (*Sessions)(nil)
)

// A DB connects one node to the cluster that shares a schema of a Postgres
// database. It implements adapter.Adapter; its Sessions are the recovery.Store.
// Its methods are safe for concurrent use.
type DB struct {
	base

	tail      *tail
	publisher *publisher
	node      *node
	relay     *relay
	sessions  *Sessions
	presences *presences
	sweeper   *sweeper
	snapshots *snapshots

	stop    context.CancelFunc // ends all goroutines except those that Close waits for
	running sync.WaitGroup
	closing sync.Once
}

// Open connects a node to the cluster whose tables are in the database at dsn,
// which is a URL or keyword string as in libpq. An empty one means the environment variables
// of libpq, and is an error if they name no database. A nil opts means the defaults.
//
// It returns when the node listens and its position in the log is known, and waits for a
// Postgres that is not up yet, see Options.ConnectTimeout. ctx bounds only Open itself.
// Close the DB after the server has shut down.
func Open(ctx context.Context, dsn string, opts *Options) (*DB, error) {
	return connect(ctx, opts, func() (source, error) { return fromAddress(dsn) })
}

// New is like Open, with connections made as pool makes its own: with its address,
// parameters, TLS, DialFunc and tracer, and with its hooks BeforeConnect, which is called for
// each connection, so that it may set a fresh password, AfterConnect, and BeforeClose. This
// holds for the connections that listen and append as well.
//
// The pool stays the application's. New uses none of its connections and does not change it;
// Close does not close it. A node has connections of its own, at most Options.MaxConns and
// two, because those of the pool may all be in use by handlers that wait for this node, which
// would lose its lease meanwhile, and because its statements need settings (the isolation
// level read committed, and forms of values) that the application may want otherwise. The node
// restores these settings where AfterConnect changes them; a role or a search_path that it
// sets stay. The functions for acquiring and releasing (PrepareConn, BeforeAcquire,
// AfterRelease) are not called, and OnNotification receives nothing from these connections.
//
// The hooks are called from several goroutines, and must return within 10 seconds; while they
// return an error, whatever its SQLSTATE, the node goes on as if Postgres were away, and New
// waits for up to Options.ConnectTimeout; the error of New wraps that of the hook. The pool may be lazy: it need not
// be connected.
func New(ctx context.Context, pool *pgxpool.Pool, opts *Options) (*DB, error) {
	return connect(ctx, opts, func() (source, error) { return fromPool(pool) })
}

func connect(ctx context.Context, opts *Options, from func() (source, error)) (*DB, error) {
	o := opts.withDefaults()
	db := &DB{base: base{opts: &o}}
	if err := db.opts.validate(); err != nil {
		return nil, fmt.Errorf("pgadapter: %w", err)
	}
	s, err := from()
	if err != nil {
		return nil, fmt.Errorf("pgadapter: %w", err)
	}
	if err := db.open(ctx, s); err != nil {
		if db.pool != nil {
			db.pool.Close()
		}
		return nil, fmt.Errorf("pgadapter: %w", annotateSchemaErr(db.opts.Schema, err))
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, s source) error {
	w := db.opts.waiter()
	config, listen, err := s.prepared(ctx, db.opts, w)
	if err != nil {
		return err
	}
	config.MaxConns = int32(min(db.opts.MaxConns, math.MaxInt32))
	config.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		return p.IdleDuration > pingAfter && closesIdle(p.Conn)
	}
	db.queries = queriesFor(db.opts.Schema)
	if db.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	err = w.Wait(ctx, func(ctx context.Context) error { return checkSettings(ctx, db.queries, db.pool) })
	if err != nil {
		return err
	}
	h, err := readHead(ctx, db.queries, db.opts.Schema, db.pool)
	if err != nil {
		return err
	}
	db.assemble(newSealer(h.log, h.key), &dedicatedConn{config: listening(listen)}, &dedicatedConn{config: config})
	if err := db.node.register(ctx, db.pool, h.pos.position()); err != nil {
		return err
	}
	if err := w.Wait(ctx, db.tail.start); err != nil {
		_, _ = db.pool.Exec(ctx, db.queries.nodeEnd, db.node.id.Load(), false, nil) // on failure, other nodes reap it after the lease
		return err
	}
	db.opts.Logger.InfoContext(ctx, "node joined the cluster", slog.String("node", db.opts.NodeName), slog.Int64("id", db.node.id.Load()),
		slog.String("schema", db.opts.Schema), slog.Int64("position", int64(db.tail.position())))
	db.run()
	return nil
}

// assemble makes the parts, each of those before it that it uses. The hooks of the tail
// lead to later parts.
func (db *DB) assemble(s *sealer, listening, appending *dedicatedConn) {
	db.tail = newTail(db.base, listening, s, tailHooks{
		ensureLease: func(ctx context.Context, q querier, at adapter.Position) (lost bool, err error) {
			return db.node.ensureLease(ctx, q, at)
		},
		outboxPending: func() { db.relay.wake() },
		relayed:       func() { db.relay.noteActivity() },
	})
	db.publisher = newPublisher(db.opts, db.queries, s, appending, db.tail)
	db.node = newNode(db.base, db.tail, db.publisher.setFrames)
	db.relay = newRelay(db.base, db.node.isRelayLeader.Load, db.tail.wakeIfPolling)
	db.presences = newPresences(db.base)
	db.sessions = newSessions(db.base, db.node, db.tail, db.presences.wake)
	db.sweeper = newSweeper(db.base, db.sessions, db.node.fence, db.tail.connectionsLost.Load, db.presences.wake)
	db.snapshots = newSnapshots(db.base, db.tail)
}

// run starts the goroutines of the DB, which run until Close.
func (db *DB) run() {
	ctx, stop := context.WithCancel(context.Background())
	db.stop = stop
	db.running.Go(func() { db.tail.run(ctx) })
	db.running.Go(func() { db.node.run(ctx) })
	db.running.Go(func() { db.sweeper.run(ctx) })
	db.running.Go(func() { db.relay.run(ctx) })
	db.running.Go(func() { db.presences.run(ctx) })
	db.publisher.start()
	db.sessions.start()
}

func checkSettings(ctx context.Context, queries *queries, q querier) error {
	var isolation, encoding, readOnly string
	var standby bool
	if err := q.QueryRow(ctx, queries.settings).Scan(&isolation, &encoding, &readOnly, &standby); err != nil {
		return err
	}
	switch {
	case isolation != "read committed":
		return fmt.Errorf("default_transaction_isolation is %q, and the pooler does not pass the setting of this program on; set it to %q for the role", isolation, "read committed")
	case encoding != "UTF8" && encoding != "SQL_ASCII":
		return fmt.Errorf("the encoding of the database is %s; create the database with encoding UTF8", encoding)
	case standby:
		return errors.New("the server is a read-only standby; use the address of the primary")
	case readOnly == "on":
		return errors.New("connections are read-only; reset default_transaction_read_only for the role, the database or the server")
	}
	return nil
}

// A head describes the ends of the log.
type head struct {
	log uint32
	low adapter.Position
	pos batchPos
	key []byte // of notifications
}

// readHead returns the head of the log. It returns an error if the schema has an unsupported version.
func readHead(ctx context.Context, queries *queries, schema string, q querier) (head, error) {
	var h head
	var version, worksFrom int
	var number int64
	m := &h.pos
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := q.QueryRow(ctx, queries.head).Scan(&version, &worksFrom, &number, &h.low, &m.id, &m.origin, &m.seq, &m.packets, &h.key)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return h, errMetaLost(schema)
	case err != nil:
		return h, explainDirty(ctx, schema, q, err)
	}
	if err := checkVersion(schema, version, worksFrom, oldestSchema, schemaVersion); err != nil {
		return h, explainDirty(ctx, schema, q, err)
	}
	h.log = uint32(number)
	if m.id == 0 || m.position() < h.low {
		*m = batchPosAt(h.low)
	}
	return h, nil
}

// checkVersion returns an error if a program that supports the versions from oldest to latest cannot use the schema.
func checkVersion(schema string, version, worksFrom, oldest, latest int) error {
	switch {
	case version < oldest:
		return fmt.Errorf("%w: schema %q has version %d and this program supports %d to %d; run migrations.Up, or pgsocket migrate up",
			ErrSchema, schema, version, oldest, latest)
	case version > latest && worksFrom > latest:
		return fmt.Errorf("%w: schema %q has version %d, which needs a program that supports version %d, and this one supports %d; upgrade the program",
			ErrSchema, schema, version, worksFrom, latest)
	}
	return nil
}

// Sessions returns the node's session store.
func (db *DB) Sessions() *Sessions { return db.sessions }

// Bind implements adapter.Adapter. It writes to Postgres, and retries for up to 10
// seconds. After Close it returns adapter.ErrClosed.
func (db *DB) Bind(l adapter.Local) (adapter.Offset, error) {
	select {
	case <-db.tail.done:
		return adapter.Offset{}, fmt.Errorf("pgadapter: bind: %w", adapter.ErrClosed)
	default:
	}
	at, err := db.tail.bind(l)
	if err != nil {
		return at, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	if err := db.node.bind(ctx, l.ID(), at.Position); err != nil {
		return at, fmt.Errorf("pgadapter: bind: %w", annotateSchemaErr(db.opts.Schema, err))
	}
	return at, nil
}

// Nodes implements adapter.Adapter. A node whose process was killed is listed
// until its lease expires.
func (db *DB) Nodes(ctx context.Context) ([]adapter.Node, error) { return db.node.list(ctx) }

// Publish implements adapter.Adapter.
func (db *DB) Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	return db.publisher.publish(ctx, e)
}

// WaitDelivered implements adapter.Adapter.
func (db *DB) WaitDelivered(ctx context.Context) error {
	if err := db.publisher.flushBarrier(ctx); err != nil {
		return err
	}
	return db.tail.waitDelivered(ctx, db.tail.ackedPosition())
}

// Read implements adapter.Adapter.
func (db *DB) Read(ctx context.Context, from, to adapter.Position) iter.Seq2[[]adapter.Delivery, error] {
	return db.tail.read(ctx, from, to)
}

// ReadRoom implements adapter.Adapter.
func (db *DB) ReadRoom(ctx context.Context, namespace, room string, to adapter.Position) iter.Seq2[adapter.PastDelivery, error] {
	return db.tail.readRoom(ctx, namespace, room, to)
}

// ResolveSnapshot implements adapter.SnapshotResolver. Tokens come from the function snapshot_token of
// the schema.
func (db *DB) ResolveSnapshot(ctx context.Context, text string) (adapter.StartPosition, error) {
	return db.snapshots.resolve(ctx, text)
}

// Close appends what was published, makes the changes of sessions durable, parks
// the remaining sessions, and ends all connections and goroutines. When ctx ends
// first, it gives up on what Postgres has not answered and returns the cause; the
// receipts of unanswered events complete with adapter.ErrClosed.
func (db *DB) Close(ctx context.Context) error {
	var err error
	db.closing.Do(func() { err = db.close(ctx) })
	return err
}

func (db *DB) close(ctx context.Context) error {
	_ = db.publisher.close(ctx) // node.leave fails for the same reason
	db.sessions.close(ctx)
	db.presences.flush(ctx)
	db.stop()
	db.running.Wait()
	err := db.node.leave(ctx)
	db.pool.Close()
	db.opts.flushLog(ctx)
	if err != nil {
		return fmt.Errorf("pgadapter: close: %w", err)
	}
	return nil
}

// newIdentity returns a random number that names a publisher or an incarnation of a node.
func newIdentity() int64 { return 1 + rand.Int64N(math.MaxInt64-1) }
