-- The schema. Run with search_path = "<schema>": the names below are unqualified.
--
-- In this order: the log (meta, log), nodes and sessions, presence, the outbox and its relay
-- (relayed, pending, relay_pending), append and rotation, announcements of presence, emits and
-- operations from SQL, snapshot tokens, triggers, requests that run once, views, rights.
--
-- The function append decides the order of events: it takes the append lock, then an id.

-- Functions that run with the rights of their owner must not find the temporary tables of
-- their callers first. The functions below keep the search_path that is set here.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false);

-- The state of the log as a whole: one row.
create table meta (
    low            bigint      not null default 0,
    log_number     bigint      not null default ('x' || left(gen_random_uuid()::text, 8))::bit(32)::bigint | 1,
    slot_started   timestamptz not null default clock_timestamp(),
    notification_key       bytea       not null default sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')),
    schema_version int         not null default 1,
    works_from     int         not null default 1,
    slot           smallint    not null default 0,
    outbox_started timestamptz not null default clock_timestamp(),
    outbox_slot    smallint    not null default 0,
    outbox_limit   bigint      not null default 4294967296,
    presence_floor bigint      not null default 0,
    keys_at        timestamptz not null default clock_timestamp(),
    keys_seen      pg_snapshot not null default pg_current_snapshot(),
    relayed        pg_snapshot not null default pg_current_snapshot(),
    relayed_id     bigint      not null default 0,
    relayed_last   bigint      not null default 0,
    relayed_old    bigint      not null default 0,
    cut_xid        xid8,
    cut_id         bigint,
    relayed_on     bigint,
    only_row       boolean     not null default true,
    constraint meta_pkey primary key (only_row),
    constraint meta_one_row check (only_row),
    constraint meta_slot check (slot between 0 and 2),
    constraint meta_outbox_slot check (outbox_slot between 0 and 2)
);

comment on column meta.low is 'the newest position that is no longer kept';
comment on column meta.log_number is 'tells this log from any other: a random 32-bit number, not zero, that offsets carry';
comment on column meta.notification_key is 'a secret of the nodes, which seals notifications: any role may LISTEN and NOTIFY';
comment on column meta.slot is 'the partition of log that is appended to';

-- The default is the version of the structure, also where a dump contains no rows.
comment on column meta.schema_version is 'the version of the schema; every migration sets it, and the default';

-- The id of a batch. It is taken under the append lock, so a batch that commits
-- later has the greater id. Without that lock a reader of "id > cursor" skips
-- rows that commit late. Cache 1: a cached range would break that order.
create sequence log_id_seq as bigint cache 1;

-- One row per batch of packets. The position of a packet is id * 4096 + index.
--
-- The frame, all integers big-endian (int2send, int4send):
--
--   frame   := version uint8 = 1, packet *
--   packet  := kind uint8, size uint32 of what follows, body
--   body    := namespace name, rooms list, except list,
--              payload blob, count uint16, attachment blob *, [trace_context name]
--   list    := count uint16, name *
--   name    := size uint16, bytes
--   blob    := size uint32, bytes
--
-- The trace context, of 1 to 512 bytes, is for the tracers of the nodes. SQL writes none.
--
-- Kinds: 0 event, 1 volatile event, 2 notice of a moved session, 3 to 9 see adapter.Kind, 255 withdrawn (no body).
create table log (
    id      bigint      not null,
    origin  bigint      not null,
    seq     bigint      not null,
    at      timestamptz not null default clock_timestamp(),
    packets int         not null,
    slot    smallint    not null,
    frame   bytea       not null,
    snapshot     pg_snapshot,
    relayed_last bigint,
    relayed_old  bigint,
    cut_xid      xid8,
    cut_id       bigint,
    relayed_on   bigint,
    xids         xid8[],
    sizes        int[],
    names        bytea,
    constraint log_packets check (packets between 1 and 4096)
) partition by list (slot);

comment on column log.origin is 'the publisher: a random number of one process';
comment on column log.seq is 'the number of the batch at its origin; (origin, seq) identifies the batch';

-- A frame is not worth compressing, and up to the page size not worth moving out
-- of line.
alter table log alter column frame set storage external;

-- Rows are appended and a partition is emptied by truncate, which leaves nothing
-- to vacuum.
create table log_0 partition of log (
    constraint log_0_pkey primary key (id),
    constraint log_0_batch unique (origin, seq)
) for values in (0) with (autovacuum_enabled = off, toast.autovacuum_enabled = off, toast_tuple_target = 8160);

create table log_1 partition of log (
    constraint log_1_pkey primary key (id),
    constraint log_1_batch unique (origin, seq)
) for values in (1) with (autovacuum_enabled = off, toast.autovacuum_enabled = off, toast_tuple_target = 8160);

create table log_2 partition of log (
    constraint log_2_pkey primary key (id),
    constraint log_2_batch unique (origin, seq)
) for values in (2) with (autovacuum_enabled = off, toast.autovacuum_enabled = off, toast_tuple_target = 8160);

-- Lock 1 of the schema, the append lock: an append locks this table in share update
-- exclusive mode. Unlike an advisory lock, no role can take it without a right to the
-- table. pg_locks shows its holder.
create table append_lock () with (autovacuum_enabled = off);

-- The payload of the notification of a batch: its name and, if it is sent along, the sealed frame.
-- The node that appends encrypts the frame with a key derived from meta.notification_key, because
-- any role may LISTEN. The tag in front of it binds the frame to its place in the log, because
-- any role may NOTIFY. A payload has to stay below 8,000 bytes. One expression, so that
-- it is inlined.
create function notification(key bytea, batch bigint, origin bigint, seq bigint, sealed bytea) returns text
language sql stable
return case
    when sealed is null then concat_ws(' ', batch, origin, seq)
    else concat_ws(' ', batch, origin, seq,
        encode(substr(sha256(key || convert_to(concat_ws(' ', batch, origin, seq, ''), 'UTF8') || sealed), 1, 12), 'base64'),
        encode(sealed, 'base64'))
end;

-- Raises the error for a schema whose table meta has lost its row.
create function meta_lost() returns void
language plpgsql stable
set search_path from current
as $$
begin
    raise exception 'table meta of schema % has lost its only row: nothing can be emitted', current_schema()
        using errcode = 'PS003', hint = 'migrations.Up, or pgsocket migrate up, puts it back.';
end
$$;

-- Fails at another isolation level than read committed. With one snapshot for the whole transaction, what others append
-- while it waits for the append lock would be invisible.
create function require_read_committed() returns void
language plpgsql stable
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the log is appended to at isolation level read committed, not %', current_setting('transaction_isolation')
            using errcode = 'PS002', hint = 'alter role ... set default_transaction_isolation = ''read committed''';
    end if;
end
$$;

-- Advances the sequence beyond all ids that the log has or had: a copy of the tables, such as
-- one made by logical replication, does not include the value of the sequence. The append lock
-- must be held.
create function advance_log_sequence() returns void
language plpgsql volatile
set search_path from current
as $$
declare
    newest bigint;
begin
    select greatest(m.low / 4096, (select l.id from log l order by l.id desc limit 1)) into newest from meta m;
    if newest > coalesce(pg_sequence_last_value('log_id_seq'), 0) then
        raise warning 'the sequence of the log was behind its table and goes on after %', newest;
        perform set_sequence('log_id_seq', newest);
    end if;
end
$$;

-- Sets a sequence of the schema with the rights of its owner: a node may only use it.
create function set_sequence(sequence regclass, value bigint) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform setval(sequence, value);
end
$$;

revoke execute on function set_sequence from public;

-- Switches to the next partition if it is empty and the current one has been appended to
-- for half the retention. Returns whether it did.
create function switch_slot(retention interval) returns boolean
language plpgsql volatile
set search_path from current
set lock_timeout = '1s'
as $$
declare
    next  int;
    empty boolean;
begin
    -- Lock 2, then lock 1.
    perform from meta for update skip locked;
    if not found then
        return false;
    end if;
    select (m.slot + 1) % 3 into next from meta m
    where clock_timestamp() - m.slot_started >= retention / 2;
    if not found then
        return false;
    end if;
    execute format('select not exists (select from %I)', 'log_' || next) into empty;
    if not empty then
        return false;
    end if;
    lock table append_lock in share update exclusive mode;
    update meta set slot = next, slot_started = clock_timestamp();
    return true;
end
$$;

-- The nodes of the cluster, and the sessions that clients can come back to.
--
-- Locks are taken in this order: the row of a node, the rows of sessions by pid_hash,
-- the rest.

create table nodes (
    id           bigint      not null,
    position     bigint      not null,
    checkpoint   bigint,
    retention_ms bigint      not null,
    lease_ms     bigint      not null,
    started      timestamptz not null default clock_timestamp(),
    seen         timestamptz not null default clock_timestamp(),
    name         text        not null,
    server       text        collate "C",
    bound        bigint,
    ended        boolean     not null default false,
    frames       smallint    not null default 1,
    host         text,
    pid          int,
    version      text,
    constraint nodes_pkey primary key (id)
) with (fillfactor = 50);

comment on column nodes.id is 'one incarnation of a node: it changes when the other nodes have declared the node dead';
comment on column nodes.position is 'how far the node had read the log when it was last seen';
comment on column nodes.retention_ms is 'how long this node wants records to be kept; the longest of all nodes applies';
comment on column nodes.lease_ms is 'how long this node may send no heartbeat before other nodes take its sessions';
comment on column nodes.checkpoint is 'up to here nothing is missing in the checkpointed sessions of this node';

create table sessions (
    epoch          bigint      not null,
    opened         bigint      not null,
    covered        bigint      not null,
    covered_before bigint,
    covered_proven bigint,
    node           bigint,
    expires_at     timestamptz,
    window_ms      bigint      not null,
    known          boolean     not null,
    checkpointed   boolean     not null,
    pid_hash       text        collate "C" not null,
    identity       text        not null default '',
    sid            text        not null,
    namespace      text        not null,
    initial_offset text        not null,
    last           text        not null,
    last_before    text,
    last_proven    text,
    seen           bigint[],
    constraint sessions_pkey primary key (pid_hash),
    constraint sessions_held_or_parked check ((node is null) = (expires_at is not null))
) with (fillfactor = 70);

create index sessions_node on sessions (node, pid_hash) where node is not null;
create index sessions_expiry on sessions (expires_at) where expires_at is not null;

comment on column sessions.node is 'the node that owns the session; null while it is parked';
comment on column sessions.epoch is 'the ownership epoch: a write with another epoch is refused';
comment on column sessions.pid_hash is 'the SHA-256 of the private session id; the hash itself resumes no session';
comment on column sessions.identity is 'the identity that the session is bound to: an HMAC with the private session id as key; empty for none';
comment on column sessions.initial_offset is 'the offset that the client presented when the session was opened';
comment on column sessions.last is 'the last offset sent to the client; empty for none';
comment on column sessions.known is 'true if no event after last, up to covered, addressed the session';
comment on column sessions.last_before is 'the value of last that was known before, for a client that did not receive the events in between';
comment on column sessions.covered_before is 'after last_before nothing addressed the session up to here';
comment on column sessions.last_proven is 'the offset that the client presented at the last resume; null if it never came back';
comment on column sessions.covered_proven is 'after last_proven nothing addressed the session up to here';
comment on column sessions.checkpointed is 'covered extends to the checkpoint of the node';

-- The session is in the room from just after joined_at up to and including left_at.
create table session_rooms (
    joined_at bigint not null,
    left_at   bigint,
    pid_hash  text   collate "C" not null,
    room      text   collate "C" not null,
    constraint session_rooms_pkey primary key (pid_hash, room, joined_at),
    constraint session_rooms_session foreign key (pid_hash) references sessions on delete cascade
);

create index session_rooms_left on session_rooms (left_at) where left_at is not null;

-- Type json rather than jsonb, which refuses the character U+0000.
create table session_data (
    pid_hash text collate "C" not null,
    key      text collate "C" not null,
    value    json not null,
    constraint session_data_pkey primary key (pid_hash, key),
    constraint session_data_session foreign key (pid_hash) references sessions on delete cascade
);

-- Presence: the rooms in which sessions are members, with their state. A row is there as long
-- as its session, or until the session leaves. A topic is what watchers watch: namespace,
-- event and room. Namespace and sid are those of the session.
create table presence (
    entered_at timestamptz not null default clock_timestamp(),
    pid_hash   text collate "C" not null,
    event      text collate "C" not null,
    room       text collate "C" not null,
    namespace  text collate "C" not null,
    sid        text collate "C" not null,
    state      json not null,
    constraint presence_pkey primary key (pid_hash, event, room),
    constraint presence_session foreign key (pid_hash) references sessions on delete cascade
) with (fillfactor = 80);

create index presence_topic on presence (namespace, event, room, sid);

create sequence presence_change_seq as bigint cache 1;

-- What watchers have not been told yet. All changes of a member are made while its session is
-- locked, so their ids have their order.
create table presence_changes (
    id        bigint not null default nextval('presence_change_seq'),
    namespace text collate "C" not null,
    event     text collate "C" not null,
    room      text collate "C" not null,
    sid       text collate "C" not null,
    before    json,
    state     json
);

create index presence_changes_id on presence_changes (id);
create index presence_changes_topic on presence_changes (namespace, event, room, sid, id);

comment on column presence_changes.before is 'the state before the change; null if the session was no member';
comment on column presence_changes.state is 'the state after the change; null if the session is no member any more';

-- Rows are written only under the append lock.
create table presence_topics (
    version      bigint      not null,
    announced_at timestamptz not null,
    namespace    text collate "C" not null,
    event        text collate "C" not null,
    room         text collate "C" not null,
    constraint presence_topics_pkey primary key (namespace, event, room)
);

comment on column presence_topics.version is 'of the last announcement in the log';
comment on column meta.presence_floor is 'the greatest version of a topic that was forgotten; later versions are greater';

create function presence_changed() returns trigger
language plpgsql volatile
set search_path from current
as $$
begin
    if tg_op = 'INSERT' then
        insert into presence_changes (namespace, event, room, sid, before, state)
        values (new.namespace, new.event, new.room, new.sid, null, new.state);
    elsif tg_op = 'DELETE' then
        insert into presence_changes (namespace, event, room, sid, before, state)
        values (old.namespace, old.event, old.room, old.sid, old.state, null);
    else
        insert into presence_changes (namespace, event, room, sid, before, state)
        values (new.namespace, new.event, new.room, new.sid, old.state, new.state);
    end if;
    return null;
end
$$;

create trigger presence_changed after insert or update or delete on presence
for each row execute function presence_changed();

-- Emits from SQL, inside of the transaction that changes the rows.
--
-- An emit writes a row into the outbox and takes no lock that outlives the statement. The next
-- holder of the append lock copies committed rows into the log: the relay of the outbox. Rows are
-- never updated and never deleted. A snapshot, stored with the batches that were relayed last,
-- records what has been relayed: a transaction is relayed if the snapshot sees it. An open
-- transaction is listed in the snapshot and costs each run one index lookup; it delays no other.

comment on column sessions.seen is 'ranges after opened that the client had received before: pairs of first and last position';

create sequence outbox_id_seq as bigint cache 1;

create table outbox (
    id      bigint      not null default nextval('outbox_id_seq'),
    xid     xid8        not null default pg_current_xact_id(),
    at      timestamptz not null default clock_timestamp(),
    packets int         not null default 1,
    horizon xid8        not null default pg_snapshot_xmax(pg_current_snapshot()),
    slot    smallint    not null,
    frame   bytea       not null,
    -- Half of what a batch of the log may have, so that rows can be packed by
    -- where they begin.
    constraint outbox_packets check (packets between 1 and 2048)
) partition by list (slot);

comment on table outbox is 'what was emitted from SQL: copied to the log after the commit';
comment on column outbox.xid is 'the transaction, also for an emit behind a savepoint';
comment on column outbox.horizon is 'no transaction from this one on was seen by the emit';
comment on column outbox.frame is 'packets as in log.frame, without the version';

alter table outbox alter column frame set storage external;

-- Like those of the log, the partitions are emptied by truncate: nothing to
-- vacuum, and no dead row to step over while a long transaction holds back the
-- vacuum of the whole database.
create table outbox_0 partition of outbox for values in (0)
with (autovacuum_enabled = off, toast.autovacuum_enabled = off);

create table outbox_1 partition of outbox for values in (1)
with (autovacuum_enabled = off, toast.autovacuum_enabled = off);

create table outbox_2 partition of outbox for values in (2)
with (autovacuum_enabled = off, toast.autovacuum_enabled = off);

create index outbox_transaction on outbox (xid, id);

-- Idempotency keys, separate for each role: no role can use up the keys of another. The second
-- user of a key waits at the primary key for the end of the first transaction.
create table emit_keys (
    at   timestamptz not null default clock_timestamp(),
    xid  xid8        not null default pg_current_xact_id(),
    role text        collate "C" not null,
    key  text        collate "C" not null,
    constraint emit_keys_pkey primary key (role, key)
);

create index emit_keys_at on emit_keys (at);

comment on column meta.outbox_slot is 'the partition of outbox that emits are written to';
comment on column meta.outbox_limit is 'the size in bytes, of a partition of outbox and of table answers, beyond which a role that is not a member of the owner cannot add to it';
comment on column meta.keys_seen is 'what had been committed at keys_at: of the older keys, only these are removed';
comment on column meta.relayed is 'what had been relayed when the log had the id relayed_id; a later batch of the log supersedes it';
comment on column meta.relayed_last is 'the greatest id of the outbox that had been relayed';
comment on column meta.relayed_old is 'rows of the outbox up to this id were relayed before a dump was restored: their transaction ids are those of another server';
comment on column meta.relayed_on is 'the server that the transaction ids in relayed belong to, see server_identity';
comment on column meta.cut_xid is 'of this transaction, which was too large for one run, the rows up to cut_id';

comment on column log.snapshot is 'of a relayed batch: what had been relayed with it';
comment on column log.relayed_on is 'of a relayed batch: the server that the transaction ids in snapshot belong to';
comment on column log.xids is 'of a relayed batch: the transactions that its packets come from, in order';
comment on column log.sizes is 'how many packets come from each of xids';
comment on column log.names is 'of a relayed batch: xid, id, and at of each row of the outbox, and its number of packets, in order; 28 bytes each';

create index log_relayed on log (id) where snapshot is not null;

-- Identifies this server, with its standbys and physical copies; null where the server does not
-- allow the query. It reads a file, so it is not called for every append.
create function server_identity() returns bigint
language plpgsql stable
set search_path from current
as $$
begin
    return (select c.system_identifier from pg_control_system() c);
exception when others then
    return null;
end
$$;

-- What has been relayed. A set of one row, because Postgres inlines sets. In a database whose rows
-- come from another server, such as a restored dump, transaction ids have no meaning until the
-- first run there. Restored is true if the ids show it. They may also have passed those of the
-- other server; then relayed_on is not this server.
create function relayed() returns table (
    snapshot pg_snapshot, last bigint, old bigint, cut_xid xid8, cut_id bigint, restored boolean, relayed_on bigint
)
language sql stable
begin atomic
    select s.snapshot, s.relayed_last, s.relayed_old, s.cut_xid, s.cut_id,
           pg_snapshot_xmax(s.snapshot) > pg_snapshot_xmax(pg_current_snapshot()), s.relayed_on
    from (
        (select l.id, l.snapshot, l.relayed_last, l.relayed_old, l.cut_xid, l.cut_id, l.relayed_on, 0 as later
         from log l where l.snapshot is not null order by l.id desc limit 1)
        union all
        select m.relayed_id, m.relayed, m.relayed_last, m.relayed_old, m.cut_xid, m.cut_id, m.relayed_on, 1 from meta m
    ) s
    order by s.id desc, s.later desc
    limit 1;
end;

-- Like relayed, for callers that are rare enough to read the identity of the server.
create function relayed_here() returns table (snapshot pg_snapshot, last bigint, old bigint, cut_xid xid8, cut_id bigint, restored boolean)
language sql stable
begin atomic
    select s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored or coalesce(s.relayed_on <> server_identity(), false) from relayed() s;
end;

-- The rows of the outbox that are committed and not relayed, without their frames: of
-- the transactions that were running when the snapshot was taken, and, marked as late, of
-- those that began after it. Rows of transactions that are still running are not read.
--
-- With most, no more than one row beyond it is read of each of the former, and of all the
-- latter together, in the order of their numbers. With below, only transactions with a
-- smaller number are read, with above only those with a greater one. After a restore all is read: what was emitted after the last
-- run is known by its id then.
--
-- It has the settings of its callers: each of its own would cost an append as much as
-- what it does. Theirs are those of relay_pending.
create function pending(
    state pg_snapshot, last_id bigint, old_id bigint, cut xid8, cut_to bigint, restored boolean, most int, below xid8 default null, above xid8 default null
) returns table (xid xid8, id bigint, size int, horizon xid8, packets int, at timestamptz, slot smallint, late boolean)
language plpgsql stable
as $$
#variable_conflict use_column
declare
    seen   pg_snapshot := pg_current_snapshot();
    ends   xid8 := pg_snapshot_xmax(seen);
    begins xid8 := pg_snapshot_xmax(state);
    room   int := most + 1;
    n      int;
    stop   xid8;
    running xid8[] := '{}';
begin
    if restored then
        return query
        select o.xid, o.id, octet_length(o.frame), o.horizon, o.packets, o.at, o.slot, false
        from outbox o
        where o.id > old_id
          and (not pg_visible_in_snapshot(o.xid, state) and (o.xid = cut and o.id <= cut_to) is not true
               or o.id > last_id);
        return;
    end if;
    if below < ends then
        ends := below;
    end if;
    if above is not null then
        begins := (above::text::bigint + 1)::text::xid8;
    elsif pg_snapshot_xmin(state) < begins then
        return query
        select r.*
        from pg_snapshot_xip(state) x
        cross join lateral (
            select o.xid, o.id, octet_length(o.frame), o.horizon, o.packets, o.at, o.slot, false
            from outbox o
            where o.xid = x and o.id > case when x = cut then greatest(cut_to, old_id) else old_id end
            order by o.id
            limit room
        ) r
        where x < ends and pg_visible_in_snapshot(x, seen);
    end if;
    if pg_snapshot_xmin(seen) < ends then
        running := array(select x from pg_snapshot_xip(seen) x where x >= begins and x < ends order by 1);
    end if;
    foreach stop in array running || ends loop
        return query
        select o.xid, o.id, octet_length(o.frame), o.horizon, o.packets, o.at, o.slot, true
        from outbox o
        where o.xid >= begins and o.xid < stop and o.id > old_id
        order by o.xid, o.id
        limit room;
        get diagnostics n = row_count;
        room := room - n;
        exit when room <= 0;
        begins := (stop::text::bigint + 1)::text::xid8;
    end loop;
end
$$;

-- Returns whether there is something to relay. Not inlined: else a statement that may call it
-- would lock everything that it reads.
create function outbox_due() returns boolean
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    if pg_sequence_last_value('outbox_id_seq') is null then -- nothing was ever emitted
        return false;
    end if;
    return exists (select from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, 0));
end
$$;

-- Copies committed rows of the outbox into the log and returns how many; the
-- append lock must be held. Transactions are in the order of their last emits: one that had seen
-- the commit of another before its last emit comes behind it. The rows of a transaction stay
-- together, unless it alone has more than one call may take: then only what precedes it comes
-- before its rest.
--
-- A call reads no more than it may take, however much waits. Of a backlog it reads the
-- transactions with the smallest numbers, and leaves those of them which may have seen
-- one that it does not read. When it reads no others, because the few that it reads are
-- nearly as large as a call, it takes these all the same.
--
-- With entirely, it returns -1 and does nothing if there is more than one call may take.
create function relay_pending(most int, bytes bigint, entirely boolean, notify boolean) returns int
language plpgsql volatile
set search_path from current
set enable_seqscan = off -- without statistics it would look tempting
set enable_bitmapscan = off -- it reads more than is asked for
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    s        record;
    seen     pg_snapshot;
    all_xids xid8[];
    all_ids  bigint[];
    sizes    int[];
    horizons xid8[];
    lates    boolean[];
    large    bigint;
    n        bigint;
    xids     xid8[];
    ids      bigint[];
    read     xid8[];
    before   bigint;
    beyond   xid8;
    cut      xid8;
    top      xid8;
    waiting  xid8[];
    here     bigint;
    r        record;
begin
    select * into s from relayed();
    loop
        -- A row that the snapshot should not see was there before a restore.
        select pg_current_snapshot(), array_agg(p.xid), array_agg(p.id), array_agg(p.size), array_agg(p.horizon), array_agg(p.late),
               case when s.restored then (select max(o.id) from outbox o where not pg_visible_in_snapshot(o.xid, pg_current_snapshot())) end
        into seen, all_xids, all_ids, sizes, horizons, lates, before
        from pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, most) p;
        exit when entirely and all_ids is null;
        here := coalesce(here, server_identity());
        exit when s.restored or (s.relayed_on = here) is not false;
        s.restored := true;
    end loop;
    if all_ids is null then
        if s.restored then
            -- Nothing waits from before. Without waiting for meta: its lock comes before the append lock.
            perform from meta for update skip locked;
            if found then
                update meta set relayed = seen, relayed_id = coalesce((select max(l.id) from log l), 0), relayed_last = s.last,
                    relayed_old = greatest(s.last, before), cut_xid = null, cut_id = null, relayed_on = server_identity();
            end if;
        end if;
        return 0;
    end if;
    select min(l.xid::text::bigint), count(*) into large, n from unnest(all_xids, lates) l (xid, late) where l.late
    having min(l.xid::text::bigint) = max(l.xid::text::bigint);
    if n > most and not entirely then
        -- One transaction that alone has more than is read does not hide those behind it, which it may have seen.
        select all_xids || array_agg(p.xid), all_ids || array_agg(p.id), sizes || array_agg(p.size), horizons || array_agg(p.horizon),
               array_fill(false, array[cardinality(lates)]) || array_agg(p.late)
        into all_xids, all_ids, sizes, horizons, lates
        from pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, most, pg_snapshot_xmax(seen), large::text::xid8) p;
    end if;

    with read as materialized (
        select * from unnest(all_xids, all_ids, sizes, horizons, lates) p (xid, id, size, horizon, late)
    ), limits as (
        -- The first transaction that may not have been read entirely.
        select case when count(*) > most then max(p.xid::text::bigint) end as unread from read p where p.late
    ), transactions as (
        select t.xid, coalesce(o.id, t.last) as last,
               case when t.xid = s.cut_xid then 0
                    when b.unread is null then 1
                    when t.xid::text::bigint >= b.unread then 3
                    when coalesce(o.horizon::text::bigint, t.horizon) > b.unread then 2
                    else 1 end as class
        from (select p.xid, max(p.id) as last, max(p.horizon::text::bigint) as horizon, count(*) > most as large from read p group by p.xid) t
        cross join limits b
        left join lateral (select u.id, u.horizon from outbox u where t.large and u.xid = t.xid order by u.id desc limit 1) o on true
    ), chosen as (
        select t.xid, t.class = 0 as first, t.last
        from transactions t
        where t.class <= greatest((select min(u.class) from transactions u), 1)
    ), ordered as (
        select p.xid, p.id, row_number() over w as n,
               row_number() over w = 1 or row_number() over w <= most and sum(p.size) over w <= bytes as fits
        from read p join chosen c on c.xid = p.xid
        window w as (order by c.first desc, c.last, p.id)
    )
    select (select array_agg(t.xid) from transactions t),
           array_agg(o.xid order by o.n) filter (where o.fits),
           array_agg(o.id order by o.n) filter (where o.fits),
           (min(array[o.n, o.xid::text::bigint]) filter (where not o.fits))[2]::text::xid8
    into read, xids, ids, beyond
    from ordered o;

    if cardinality(all_ids) = cardinality(ids) then
        -- All of it: the snapshot says what has been relayed.
        if s.restored then
            s.old := greatest(s.last, before);
        end if;
    elsif entirely then
        return -1;
    else
        -- A transaction that does not fit entirely waits, unless it is the first.
        if xids[1] = beyond then
            cut := beyond;
            s.cut_id := ids[cardinality(ids)];
        elsif xids[cardinality(xids)] = beyond then
            ids := ids[:array_position(xids, beyond) - 1];
            xids := xids[:cardinality(ids)];
        end if;
        -- Relayed is everything below top, except what waits and what was running.
        -- What waits below top was running when the newest of the relayed began,
        -- so these are never more than there are connections.
        select greatest(pg_snapshot_xmax(s.snapshot), (x::text::bigint + 1)::text::xid8)
        into top from unnest(xids) x order by x desc limit 1;
        waiting := array(
            ((select x from unnest(read) x where x < top union select x from pg_snapshot_xip(seen) x where x < top)
             except select x from unnest(xids) x)
            union
            select cut where cut is not null
            order by 1);
        seen := format('%s:%s:%s', coalesce(waiting[1], top), top, array_to_string(waiting, ','))::pg_snapshot;
    end if;

    select greatest(s.last, max(i)) into s.last from unnest(ids) i;
    perform advance_log_sequence();
    with added as (
        insert into log (id, origin, seq, packets, slot, frame, snapshot, relayed_last, relayed_old, cut_xid, cut_id, relayed_on, xids, sizes, names)
        select nextval('log_id_seq'), -1, ('x' || left(translate(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint,
               b.packets, m.slot, b.frame, seen, s.last, s.old, cut, case when cut is not null then s.cut_id end, here, b.xids, b.sizes, b.names
        from meta m, (
            select sum(p.packets) as packets, substr(int2send(1::int2), 2) || string_agg(p.frame, ''::bytea order by p.n) as frame,
                   array_agg(p.xid order by p.n) as xids, array_agg(p.packets order by p.n) as sizes,
                   string_agg(xid8send(p.xid) || int8send(p.id) || timestamptz_send(p.at) || int4send(p.packets), ''::bytea order by p.n) as names
            from (
                select u.n, o.xid, o.id, o.at, o.packets, o.frame,
                       (sum(o.packets) over w - o.packets) / 2048 as by_packets,
                       (sum(octet_length(o.frame)) over w - octet_length(o.frame)) / 262144 as by_bytes
                from unnest(xids, ids) with ordinality u (xid, id, n)
                join outbox o on o.xid = u.xid and o.id = u.id
                window w as (order by u.n)
            ) p
            group by p.by_packets, p.by_bytes
            order by p.by_packets, p.by_bytes
        ) b
        returning id, origin, seq
    )
    select a.id, a.origin, a.seq into r from added a order by a.id desc limit 1;
    if notify then -- one is enough, and has no frame with it: nothing here can seal one
        perform pg_notify(current_schema(), notification(null, r.id, r.origin, r.seq, null));
    end if;
    return cardinality(ids);
end
$$;

-- Relays committed rows to a log that nobody else appends to; returns the number of rows. Returns
-- -1 without waiting if another session appends right now, which relays as well.
--
-- Must be a transaction of its own: the append lock is held to its end.
create function relay_outbox(wait boolean, notify boolean) returns int
language plpgsql volatile
set search_path from current
set lock_timeout = 0
as $$
begin
    perform require_read_committed();
    -- Lock 1 of the schema.
    if wait then
        lock table append_lock in share update exclusive mode;
    else
        begin
            lock table append_lock in share update exclusive mode nowait;
        exception when lock_not_available then
            return -1;
        end;
    end if;
    if not exists (select from meta) then
        perform meta_lost();
    end if;
    return relay_pending(131072, 33554432, false, notify);
end
$$;

-- Appends a batch and notifies the nodes; returns the batch's id. A batch that is in
-- the log already is left alone, and its id returned. What was committed in the
-- outbox before is relayed first, with a notification of its own.
--
-- Sealed is the frame as it is sent with the notification, or null. Without notify no node is
-- notified. A local-only batch concerns sockets of the calling node alone, and is not notified.
-- The caller then receives what the log has between the batch after, which it has, and the new
-- one, if that is little, and need not read the log. The first row is after itself, by name only.
--
-- Must be a transaction of its own: the append lock is held to its end.
create function append(
    origin bigint, seq bigint, packets int, frame bytea, notify boolean, local_only boolean default false, after bigint default 0,
    sealed bytea default null,
    out batch bigint, out ids bigint[], out origins bigint[], out seqs bigint[], out counts int[], out frames bytea[], out names bytea[])
language plpgsql volatile
set search_path from current
set lock_timeout = 0
as $$
declare
    slot_now smallint;
    key      bytea;
begin
    perform require_read_committed();

    -- Lock 1 of the schema, the append lock. Before everything else: the order
    -- of the ids is the order in which it was held.
    lock table append_lock in share update exclusive mode;

    -- Its publisher gave this statement up long ago and may have sent the batch
    -- again; the log may even have trimmed that one.
    if clock_timestamp() - statement_timestamp() > interval '1 minute' then
        raise exception 'waited too long for the append lock' using errcode = 'lock_not_available';
    end if;

    select l.id into batch from log l where l.origin = append.origin and l.seq = append.seq;
    if found then
        return;
    end if;

    if pg_sequence_last_value('outbox_id_seq') is not null then
        begin
            perform relay_pending(1024, 1048576, true, notify);
        exception when others then -- the batch is none the worse for it
            raise warning 'outbox not relayed: %', sqlerrm;
        end;
    end if;

    select m.slot, m.notification_key into slot_now, key from meta m;
    if not found then
        perform meta_lost();
    end if;
    perform advance_log_sequence();
    batch := nextval('log_id_seq');
    insert into log (id, origin, seq, packets, slot, frame)
    values (batch, append.origin, append.seq, append.packets, slot_now, append.frame);

    if notify and not local_only then
        perform pg_notify(current_schema(), notification(key, batch, append.origin, append.seq, append.sealed));
    elsif batch - after <= 16 then
        select array_agg(l.id order by l.id), array_agg(l.origin order by l.id), array_agg(l.seq order by l.id),
               array_agg(l.packets order by l.id), array_agg(case when l.id > after then l.frame end order by l.id),
               array_agg(l.names order by l.id)
        into ids, origins, seqs, counts, frames, names
        from log l where l.id >= append.after and l.id < batch
        having coalesce(sum(octet_length(l.frame)) filter (where l.id > after), 0) <= 65536;
    end if;
end
$$;

-- After how many milliseconds a topic with changes is to be announced, of the oldest 2000 changes;
-- null without changes. Between two announcements of a topic are at least min_ms.
create function presence_due(min_ms int) returns int
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    return (
        select min(case when t.announced_at is null or t.announced_at > clock_timestamp() then 0 -- new, or the clock was set back
                        else greatest(0, ceil(min_ms - 1000 * extract(epoch from clock_timestamp() - t.announced_at))) end)
        from (select distinct c.namespace, c.event, c.room
              from (select * from presence_changes order by id limit 2000) c) d
        left join lateral (
            select o.announced_at from presence_topics o where o.namespace = d.namespace and o.event = d.event and o.room = d.room limit 1
        ) t on true
    );
end
$$;

-- Deletes rows of presence_changes by where they are: with wrong estimates of their number Postgres would choose a
-- plan that compares each with all. They are never updated, and deleted only under the append lock.
create function delete_presence_changes(places tid[]) returns void
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_indexscan = off
set enable_indexonlyscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    delete from presence_changes c where c.ctid = any (places);
end
$$;

-- Announces changes of presence to the watchers of those topics that are due: appends an event
-- for each topic with the net change of each member, or several if it is large, and returns how many.
-- Due_ms is when to call again: null if no changes are left.
--
-- Must be a transaction of its own: the append lock is held to its end.
create function announce_presence(min_ms int, notify boolean, out announced int, out due_ms int)
language plpgsql volatile
set search_path from current
set lock_timeout = 0
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    frame  bytea;
    places tid[];
begin
    announced := 0;
    perform require_read_committed();
    due_ms := presence_due(min_ms);
    if due_ms > 0 or due_ms is null then
        return;
    end if;

    -- Lock 1 of the schema, the append lock. The statements behind it see all earlier announcements.
    lock table append_lock in share update exclusive mode;
    -- No joins but look-ups: estimates of the number of changes are always wrong.
    with read as materialized (
        select c.*, coalesce(t.version, m.presence_floor) as version,
               (t.announced_at is null or t.announced_at > clock_timestamp()
                or clock_timestamp() - t.announced_at >= min_ms * interval '1 millisecond') as due,
               row_number() over w as n, sum(octet_length(c.state::text)) over w as bytes
        from (select o.ctid as place, o.* from presence_changes o order by o.id limit 2000) c
        cross join meta m
        left join lateral ( -- a limit, so that each is looked up
            select o.version, o.announced_at from presence_topics o where o.namespace = c.namespace and o.event = c.event and o.room = c.room limit 1
        ) t on true
        window w as (order by c.id)
    ), taken as materialized (
        select * from read r where r.due and (r.n = 1 or coalesce(r.bytes, 0) <= 524288)
    ), net as (
        select t.namespace, t.event, t.room, t.sid, t.version,
               (array_agg(t.before order by t.id))[1] as before, (array_agg(t.state order by t.id desc))[1] as state
        from taken t
        group by t.namespace, t.event, t.room, t.sid, t.version
    ), changed as (
        select n.*, (row_number() over w - 1) / 500 as by_count, coalesce(sum(octet_length(n.state::text)) over w, 0) / 131072 as by_bytes
        from net n
        where n.before::text is distinct from n.state::text
        window w as (partition by n.namespace, n.event, n.room order by n.sid)
    ), parts as (
        select c.namespace, c.event, c.room, c.version as last, c.by_count, c.by_bytes,
               string_agg('{"id":' || to_json(c.sid) || ',"state":' || c.state || '}', ',' order by c.sid) filter (where c.before is null) as entered,
               string_agg('{"id":' || to_json(c.sid) || ',"state":' || c.state || '}', ',' order by c.sid) filter (where c.before is not null and c.state is not null) as updated,
               string_agg(to_json(c.sid)::text, ',' order by c.sid) filter (where c.state is null) as gone
        from changed c
        group by c.namespace, c.event, c.room, c.version, c.by_count, c.by_bytes
    ), events as (
        select p.*, p.last + row_number() over (partition by p.namespace, p.event, p.room order by p.by_count, p.by_bytes) as version
        from parts p
    ), versions as (
        insert into presence_topics (namespace, event, room, version, announced_at)
        select e.namespace, e.event, e.room, max(e.version), clock_timestamp()
        from events e
        group by e.namespace, e.event, e.room
        on conflict (namespace, event, room) do update set version = excluded.version, announced_at = excluded.announced_at
    ), packets as (
        -- The name of the room of the watchers is that of adapter.WatchRequest.
        select e.namespace, e.event, e.room, e.version,
               wire_name(e.namespace) || int2send(1::int2) || wire_name(chr(31) || e.event || chr(31) || e.room) || int2send(0::int2)
               || int4send(octet_length(b.body)) || b.body || int2send(0::int2) as packet
        from events e
        cross join lateral (
            select convert_to(concat('[', to_json(e.event), ',{"room":', to_json(e.room), ',"version":', e.version,
                ',"entered":[' || e.entered || ']', ',"updated":[' || e.updated || ']', ',"left":[' || e.gone || ']', '}]'), 'UTF8')
        ) b (body)
    )
    select count(*), string_agg(packet_head(0, octet_length(p.packet)) || p.packet, ''::bytea order by p.namespace, p.event, p.room, p.version),
           (select array_agg(t.place) from taken t)
    into announced, frame, places
    from packets p;
    perform delete_presence_changes(places);
    if announced > 0 then
        perform append(-2, ('x' || left(translate(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint, announced,
            substr(int2send(1::int2), 2) || frame, notify);
    end if;
    due_ms := presence_due(min_ms);
end
$$;

-- Forgets topics without members that were announced last before the retention, up to 10,000.
--
-- Must be a transaction of its own: the append lock is held to its end.
create function forget_presence(retention interval) returns void
language plpgsql volatile
set search_path from current
set lock_timeout = '1s'
set enable_seqscan = off
set jit = off
as $$
begin
    -- Lock 2, then lock 1.
    perform from meta for update skip locked;
    if not found then
        return;
    end if;
    lock table append_lock in share update exclusive mode;
    with old as materialized (
        select t.namespace, t.event, t.room
        from (select * from presence_topics o where o.announced_at < clock_timestamp() - retention order by o.announced_at limit 10000) t
        where not exists (select from presence p where p.namespace = t.namespace and p.event = t.event and p.room = t.room)
          and not exists (select from presence_changes c where c.namespace = t.namespace and c.event = t.event and c.room = t.room)
    ), forgotten as (
        delete from presence_topics t using old o
        where t.namespace = o.namespace and t.event = o.event and t.room = o.room
        returning t.version
    )
    update meta m set presence_floor = f.version
    from (select max(g.version) from forgotten g) f (version)
    where f.version > m.presence_floor;
end
$$;

-- Empties the partition that comes next, once the current one has been appended
-- to for half the retention: what is in the next one is then older than the
-- retention. Reports whether the next partition is empty.
create function empty_slot(retention interval) returns boolean
language plpgsql volatile
set search_path from current
set lock_timeout = '100ms'
as $$
declare
    next   text;
    newest bigint;
begin
    -- Lock 2 of the schema, the sweep, is the row of meta: before any lock on a
    -- partition.
    perform from meta for update skip locked;
    if not found then
        return false;
    end if;
    select 'log_' || (m.slot + 1) % 3 into next from meta m
    where clock_timestamp() - m.slot_started >= retention / 2;
    if not found then
        return false;
    end if;
    execute format('select l.id * 4096 + l.packets - 1 from %I l order by l.id desc limit 1', next) into newest;
    if newest is null then
        return true;
    end if;

    -- A session that waits for this lock makes every reader wait behind it, so it is
    -- first tried without waiting.
    for attempt in 1..20 loop
        begin
            execute format('lock table only %I in access exclusive mode nowait', next);
            exit;
        exception when lock_not_available then
            perform pg_sleep(0.005);
        end;
    end loop;
    execute format('lock table only %I in access exclusive mode', next);
    update meta set low = greatest(low, newest);
    -- What has been relayed is known from there on without the batches.
    execute format(
        'update meta m set relayed = l.snapshot, relayed_id = l.id, relayed_last = l.relayed_last, relayed_old = l.relayed_old,
             cut_xid = l.cut_xid, cut_id = l.cut_id, relayed_on = l.relayed_on
         from (select * from %I where snapshot is not null order by id desc limit 1) l where l.id > m.relayed_id', next);
    execute format('truncate only %I', next);
    return true;
end
$$;

-- Goes on to the next partition of the outbox, emptied, when the current one has
-- been used for half the retention. Reports whether it did: not while a
-- transaction is open that has emitted into the next one, nor before all of that
-- is relayed, nor while a backlog waits, which is not read entirely. Forgets keys that were
-- committed before the retention, after twice as long at most.
create function rotate_outbox(retention interval) returns boolean
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    backlog constant int := 10000;
    next        int;
    committed   pg_snapshot;
    waits       bigint;
    waits_there bigint;
begin
    -- Lock 2 of the schema, then the partition, for which nothing waits.
    perform from meta for update skip locked;
    if not found then
        return false;
    end if;
    -- A key counts from its commit, which the snapshot tells, not from its use.
    select m.keys_seen into committed from meta m where clock_timestamp() - m.keys_at >= retention;
    if found then
        -- After a restore the numbers of transactions begin anew.
        delete from emit_keys k
        where k.at < clock_timestamp() - retention
          and (pg_visible_in_snapshot(k.xid, committed) or k.xid >= pg_snapshot_xmax(pg_current_snapshot()));
        update meta set keys_seen = pg_current_snapshot(), keys_at = clock_timestamp();
    end if;
    select (m.outbox_slot + 1) % 3 into next from meta m
    where clock_timestamp() - m.outbox_started >= retention / 2;
    if not found then
        return false;
    end if;
    begin
        execute format('lock table only %I in access exclusive mode nowait', 'outbox_' || next);
    exception when lock_not_available then
        return false;
    end;
    select count(*), count(*) filter (where p.slot = next) into waits, waits_there
    from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, backlog) p;
    if waits_there > 0 or waits > backlog then
        return false;
    end if;
    execute format('truncate only %I', 'outbox_' || next);
    update meta set outbox_slot = next, outbox_started = clock_timestamp();
    return true;
end
$$;

-- A name as the frame has it. Names of emits are at most 1,024 bytes long.
create function wire_name(name text) returns bytea
language sql stable
return int2send(octet_length(convert_to(name, 'UTF8'))::int2) || convert_to(name, 'UTF8');

-- Returns the head of a packet. Without a literal, whose meaning would depend on standard_conforming_strings.
create function packet_head(kind int, size int) returns bytea
language sql immutable
return substr(int2send(kind::int2), 2) || int4send(size);

-- The role of the caller, also where the function that calls this one runs with the rights of its owner.
create function outbox_caller() returns text
language sql stable
return coalesce(nullif(current_setting('role'), 'none'), session_user::text);

-- Refuses more rows of a role in a place that has more than most bytes, unless the role is a member of the owner.
create function refuse_full(role text, place text, most bigint) returns void
language plpgsql stable
set search_path from current
as $$
begin
    if not pg_has_role(role, (select n.nspowner from pg_namespace n where n.nspname = current_schema()), 'member') then
        raise exception '% of schema % has more than % bytes', place, current_schema(), most
            using errcode = 'configuration_limit_exceeded',
                  hint = 'It shrinks when the nodes have copied or deleted what is old. The limit is outbox_limit in table meta. The role of the owner has none.';
    end if;
end
$$;

-- The partition that emits go to. A schema whose meta has no row can keep no event, and must report an error.
create function outbox_slot_now() returns smallint
language plpgsql volatile
set search_path from current
as $$
declare
    slot_now smallint;
    most     bigint;
    caller   text := outbox_caller();
begin
    if pg_sequence_last_value('outbox_id_seq') is null then -- never used: new, or a copy of the tables
        perform advance_outbox_sequence();
    end if;
    select m.outbox_slot, m.outbox_limit into slot_now, most from meta m;
    if not found then
        perform meta_lost();
    end if;
    -- Limits how much of the disk a role can fill. The role of the nodes has no limit.
    if caller <> current_user and pg_table_size(format('%I.%I', current_schema(), 'outbox_' || slot_now)::regclass) > most then
        perform refuse_full(caller, 'the outbox', most);
    end if;
    return slot_now;
end
$$;

-- Starts the ids of the outbox beyond all that any other copy of the sequence has given: far beyond
-- what the log can have relayed since meta was last updated. It reads no table whose partitions
-- are emptied, because the caller's transaction may be long, and its lock is short.
create function advance_outbox_sequence() returns void
language plpgsql volatile
set search_path from current
as $$
begin
    -- Strangers cannot take the append lock. Rolling back the subtransaction releases it; setval is not rolled back.
    lock table append_lock in share update exclusive mode;
    if pg_sequence_last_value('outbox_id_seq') is null then
        perform set_sequence('outbox_id_seq', (select m.relayed_last / 4294967296 * 4294967296 + 4294967296 from meta m));
    end if;
    raise exception 'set' using errcode = 'PS004';
exception when sqlstate 'PS004' then
    return;
end
$$;

-- Refuses event names that clients reserve.
create function check_event(event text) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if event is null or event = ''
       or event in ('connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener') then
        raise exception 'an event cannot have the name %', quote_nullable(event) using errcode = 'invalid_parameter_value';
    end if;
end
$$;

-- Uses an idempotency key of the caller's role in the caller's transaction, or returns false if that is
-- used already. Waits while a transaction that has used it is open.
create function use_key(key text) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
    insert into emit_keys (role, key) values (outbox_caller(), use_key.key) on conflict do nothing;
    return found;
end
$$;

-- Refuses what cannot be an audience, and returns the namespace as it is named.
create function check_audience(everybody boolean, rooms text[], namespace text, except_rooms text[], key text) returns text
language plpgsql immutable
set search_path from current
as $$
declare
    name text;
begin
    if not everybody and (rooms is null or array_position(rooms, null) is not null) then
        raise exception 'a room is null' using errcode = 'null_value_not_allowed', hint = 'emit_all emits to everybody.';
    end if;
    if cardinality(rooms) > 10000 or cardinality(except_rooms) > 10000 then
        raise exception 'more than 10000 rooms' using errcode = 'program_limit_exceeded';
    end if;
    foreach name in array coalesce(rooms || except_rooms, '{}') loop
        perform check_room(name);
    end loop;
    if namespace is null or octet_length(namespace) > 1000 then
        raise exception 'invalid namespace' using errcode = 'invalid_parameter_value';
    end if;
    if octet_length(key) not between 1 and 255 then
        raise exception 'a key has 1 to 255 bytes' using errcode = 'invalid_parameter_value';
    end if;
    return case when namespace like '/%' then namespace else '/' || namespace end;
end
$$;

create function check_room(name text) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if name is null or octet_length(name) not between 1 and 255 then
        raise exception 'a room cannot have the name %', quote_nullable(name) using errcode = 'invalid_parameter_value', hint = 'A name has 1 to 255 bytes.';
    end if;
end
$$;

-- Whether JSON has an object that clients take for the place of an attachment.
create function has_placeholder(doc jsonb) returns boolean
language sql immutable
return jsonb_path_exists(doc, 'strict $.** ? (@._placeholder == true)');

-- Refuses the arguments of an event unless each of its attachments has one place in
-- them, in the form in which pgadapter.EmitTx writes it, and nothing else looks like
-- one. Clients close the connection over the rest, come back, and get it again.
create function check_placeholders(args text, attachments int) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    place text;
    rest  text := args;
    one   int;
    bad   boolean := false;
begin
    for i in 0..attachments - 1 loop
        place := '{"_placeholder":true,"num":' || i || '}';
        one := length(rest) - length(place) + 4;
        rest := replace(rest, place, 'null');
        bad := bad or length(rest) <> one;
    end loop;
    if bad or attachments > 0 and has_placeholder(rest::jsonb) then
        raise exception 'each attachment has exactly one placeholder, and nothing else looks like one' using errcode = 'invalid_parameter_value';
    end if;
end
$$;

-- Writes a packet into the outbox, see the table log for its form. What it takes has been
-- checked.
create function put_packet(kind int, namespace text, rooms text[], except_rooms text[], body bytea, attachments bytea[], notify boolean) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    packet    bytea;
    name      text;
    part      bytea;
    into_slot smallint;
begin
    packet := wire_name(namespace) || int2send(coalesce(cardinality(rooms), 0)::int2);
    foreach name in array coalesce(rooms, '{}') loop
        packet := packet || wire_name(name);
    end loop;
    packet := packet || int2send(coalesce(cardinality(except_rooms), 0)::int2);
    foreach name in array coalesce(except_rooms, '{}') loop
        packet := packet || wire_name(name);
    end loop;
    packet := packet || int4send(octet_length(body)) || body || int2send(coalesce(cardinality(attachments), 0)::int2);
    foreach part in array coalesce(attachments, '{}') loop
        packet := packet || int4send(octet_length(part)) || part;
    end loop;
    if octet_length(packet) > 1048576 then
        raise exception 'an event of % bytes; at most 1048576', octet_length(packet) using errcode = 'program_limit_exceeded';
    end if;
    into_slot := outbox_slot_now();
    insert into outbox (slot, frame) values (into_slot, packet_head(kind, octet_length(packet)) || packet);
    if notify then
        perform pg_notify(current_schema(), 'relay');
    end if;
end
$$;

-- Writes an event into the outbox. The emit functions below are its public form;
-- what it takes are plain values, so it runs nobody's code with its owner's rights.
create function emit_event(
    everybody boolean, rooms text[], event text, payload jsonb, args jsonb, namespace text,
    except_rooms text[], attachments bytea[], key text, notify boolean
) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
declare
    doc jsonb := jsonb_build_array(event);
begin
    perform check_event(event);
    namespace := check_audience(everybody, rooms, namespace, except_rooms, key);
    if cardinality(rooms) = 0 then
        return false; -- nobody
    end if;

    if args is not null and (payload is not null or jsonb_typeof(args) <> 'array') then
        raise exception 'args is an array of all arguments, in place of payload' using errcode = 'invalid_parameter_value';
    end if;
    if args is not null then
        doc := doc || args;
    elsif payload is not null then
        doc := jsonb_build_array(event, payload);
    end if;
    if cardinality(attachments) > 0 then
        if cardinality(attachments) > 10 or array_position(attachments, null) is not null then
            raise exception 'at most 10 attachments, none of them null' using errcode = 'invalid_parameter_value';
        elsif has_placeholder(doc) then
            raise exception 'a payload beside attachments cannot have the key _placeholder with the value true' using errcode = 'invalid_parameter_value';
        end if;
        doc := doc || (select jsonb_agg(jsonb_build_object('_placeholder', true, 'num', i - 1) order by i)
                       from generate_series(1, cardinality(attachments)) i);
    end if;

    if key is not null and not use_key(key) then
        return false;
    end if;
    perform put_packet(0, namespace, rooms, except_rooms, convert_to(doc::text, 'UTF8'), attachments, notify);
    return true;
end
$$;

-- Writes an operation on the sockets in a room into the outbox: 3 join, 4 leave,
-- 5 disconnect. The functions below are its public form.
create function operate(
    kind int, target text, room text, namespace text, except_rooms text[], key text, notify boolean
) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
begin
    if kind not in (3, 4, 5) then
        raise exception 'no such operation' using errcode = 'invalid_parameter_value';
    end if;
    namespace := check_audience(false, array[target], namespace, except_rooms, key);
    if kind <> 5 then
        perform check_room(room);
    end if;
    if key is not null and not use_key(key) then
        return false;
    end if;
    perform put_packet(kind, namespace, array[target], except_rooms,
        case when kind = 5 then ''::bytea else convert_to(jsonb_build_array(room)::text, 'UTF8') end, null, notify);
    return true;
end
$$;

-- Puts the sockets that are in a room (target) into another one (room), in order
-- with the events that are emitted. Every socket is in the room that has its id as its
-- name. Clients that are away join as well. Returns false if the key was used before.
create function join_room(
    target text, room text, namespace text default '/', except_rooms text[] default null, key text default null, notify boolean default false
) returns boolean
language sql volatile
return operate(3, target, room, namespace, except_rooms, key, notify);

-- Takes the sockets that are in a room (target) out of a room. With the same name
-- twice it empties the room.
create function leave_room(
    target text, room text, namespace text default '/', except_rooms text[] default null, key text default null, notify boolean default false
) returns boolean
language sql volatile
return operate(4, target, room, namespace, except_rooms, key, notify);

-- Disconnects the sockets that are in a room and ends their sessions: a client that is away
-- gets a new session when it returns.
create function disconnect(
    target text, namespace text default '/', except_rooms text[] default null, key text default null, notify boolean default false
) returns boolean
language sql volatile
return operate(5, target, null, namespace, except_rooms, key, notify);

-- Emits an event to the sockets in a room. Every socket is in the room that has its
-- id as its name. Returns false if the key was used before: nothing is emitted.
create function emit(
    room text, event text, payload jsonb default null, args jsonb default null, namespace text default '/',
    except_rooms text[] default null, attachments bytea[] default null, key text default null, notify boolean default false
) returns boolean
language sql volatile
return emit_event(false, array[room], event, payload, args, namespace, except_rooms, attachments, key, notify);

-- Emits an event to the sockets in any of the rooms, to each of them once.
create function emit_to(
    rooms text[], event text, payload jsonb default null, args jsonb default null, namespace text default '/',
    except_rooms text[] default null, attachments bytea[] default null, key text default null, notify boolean default false
) returns boolean
language sql volatile
return emit_event(false, rooms, event, payload, args, namespace, except_rooms, attachments, key, notify);

-- Emits an event to everybody in the namespace.
create function emit_all(
    event text, payload jsonb default null, args jsonb default null, namespace text default '/',
    except_rooms text[] default null, attachments bytea[] default null, key text default null, notify boolean default false
) returns boolean
language sql volatile
return emit_event(true, null, event, payload, args, namespace, except_rooms, attachments, key, notify);

-- Emits one event per payload: payloads[i] to rooms[i], and to other_rooms[i] if
-- that is not null. Rows without a room are left out. Returns how many there were.
-- With lenient, what cannot be emitted is a warning and emits nothing.
create function emit_many(
    rooms text[], event text, payloads jsonb[], other_rooms text[] default null, namespace text default '/', notify boolean default false,
    lenient boolean default false
) returns bigint
language plpgsql volatile security definer
set search_path from current
set jit = off
as $$
declare
    name      bytea;
    counts    int[];
    frames    bytea[];
    largest   int;
    into_slot smallint;
begin
    begin
        into_slot := outbox_slot_now();
        perform check_event(event);
        if namespace is null or octet_length(namespace) > 1000 then
            raise exception 'invalid namespace' using errcode = 'invalid_parameter_value';
        elsif exists (select from unnest(rooms || other_rooms) r where octet_length(r) not between 1 and 255) then
            raise exception 'a room has a name of 1 to 255 bytes' using errcode = 'invalid_parameter_value';
        end if;
        name := wire_name(case when namespace like '/%' then namespace else '/' || namespace end);
        with bodies as (
            select u.i, int4send(octet_length(c.body)) || c.body || int2send(0::int2) as tail, u.room, nullif(u.other, u.room) as other
            from unnest(rooms, payloads, other_rooms) with ordinality u (room, payload, other, i)
            cross join lateral (
                select convert_to((jsonb_build_array(event) || case when u.payload is null then '[]' else jsonb_build_array(u.payload) end)::text, 'UTF8')
            ) c (body)
            where u.room is not null
        ), packets as (
            select b.i, name || case when b.other is null then int2send(1::int2) || wire_name(b.room)
                                     else int2send(2::int2) || wire_name(b.room) || wire_name(b.other) end || int2send(0::int2) || b.tail as packet
            from bodies b
        ), places as (
            select p.i, p.packet, (row_number() over w - 1) / 2048 as by_packets,
                   (sum(octet_length(p.packet) + 5) over w - octet_length(p.packet) - 5) / 262144 as by_bytes
            from packets p window w as (order by p.i)
        ), rows as (
            select count(*) as packets, max(octet_length(p.packet)) as largest, min(p.i) as i,
                   string_agg(packet_head(0, octet_length(p.packet)) || p.packet, ''::bytea order by p.i) as frame
            from places p group by p.by_packets, p.by_bytes
        )
        select array_agg(r.packets order by r.i), array_agg(r.frame order by r.i), max(r.largest) into counts, frames, largest from rows r;
        if largest > 1048576 then
            raise exception 'an event of % bytes; at most 1048576', largest using errcode = 'program_limit_exceeded';
        end if;
    exception when others then
        if not lenient then
            raise;
        end if;
        raise warning '% events % are not emitted: %', cardinality(rooms), quote_nullable(event), sqlerrm;
        return 0;
    end;
    insert into outbox (packets, slot, frame)
    select u.packets, into_slot, u.frame from unnest(counts, frames) with ordinality u (packets, frame, i) order by u.i;
    if notify and found then
        perform pg_notify(current_schema(), 'relay');
    end if;
    return coalesce((select sum(n) from unnest(counts) n), 0);
end
$$;

-- Emits a packet that pgadapter.EmitTx has encoded, after a look at every part of
-- it: a malformed one in the log would stop every reader.
create function emit_packet(packet bytea, key text default null, notify boolean default false) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
declare
    at        int := 5;
    size      int;
    names     int;
    args      json;
    into_slot smallint;
begin
    if octet_length(packet) > 1048576 then
        raise exception 'an event of % bytes; at most 1048576', octet_length(packet) using errcode = 'program_limit_exceeded';
    elsif octet_length(key) not between 1 and 255 then
        raise exception 'a key has 1 to 255 bytes' using errcode = 'invalid_parameter_value';
    elsif get_byte(packet, 0) not in (0, 1)
          or ('x' || encode(substr(packet, 2, 4), 'hex'))::bit(32)::int <> octet_length(packet) - 5 then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    size := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
    perform convert_from(substr(packet, at + 3, size), 'UTF8');
    at := at + 2 + size;
    for list in 1..2 loop
        names := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
        at := at + 2;
        for name in 1..names loop
            size := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
            perform check_room(convert_from(substr(packet, at + 3, size), 'UTF8'));
            at := at + 2 + size;
        end loop;
    end loop;
    size := ('x' || encode(substr(packet, at + 1, 4), 'hex'))::bit(32)::int;
    if size < 2 then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    args := convert_from(substr(packet, at + 5, size), 'UTF8');
    if json_typeof(args) <> 'array' or json_typeof(args -> 0) is distinct from 'string' then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    perform check_event(args ->> 0);
    at := at + 4 + size;
    names := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
    if names > 10 then -- more than an official client takes
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    perform check_placeholders(args::text, names);
    at := at + 2;
    for attachment in 1..names loop
        size := ('x' || encode(substr(packet, at + 1, 4), 'hex'))::bit(32)::int;
        if size < 0 then
            raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
        end if;
        at := at + 4 + size;
    end loop;
    if at < octet_length(packet) then
        size := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
        if size not between 1 and 512 then
            raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
        end if;
        perform convert_from(substr(packet, at + 3, size), 'UTF8');
        at := at + 2 + size;
    end if;
    if at <> octet_length(packet) then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;

    if key is not null and not use_key(key) then
        return false;
    end if;
    into_slot := outbox_slot_now();
    insert into outbox (slot, frame) values (into_slot, packet);
    if notify then
        perform pg_notify(current_schema(), 'relay');
    end if;
    return true;
exception when array_subscript_error then -- get_byte behind the end
    raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
end
$$;

-- Returns a token for the snapshot of the caller's query: a client that receives it together with
-- the state gets every event whose transaction the state does not include, and no other. Stable, lest it take a snapshot of its own.
create function snapshot_token() returns text
language plpgsql stable security definer
set search_path from current
as $$
declare
    mark text;
begin
    if pg_is_in_recovery() then
        raise exception 'a standby does not know which transactions are running' using errcode = 'feature_not_supported', hint = 'Read the state and the snapshot token on the primary.';
    end if;
    select concat_ws('.', m.log_number, coalesce(h.id * 4096 + h.packets - 1, m.low), coalesce(h.origin, 0), coalesce(h.seq, 0), pg_current_snapshot())
    into mark
    from meta m
    left join lateral (select l.id, l.origin, l.seq, l.packets from log l order by l.id desc limit 1) h on true;
    return mark;
end
$$;

-- Where in the log the transactions are that a snapshot sees, after a batch: the
-- first and the last position of what comes in a row. What was committed when the
-- function is called, and the snapshot sees, has been relayed by then: unless one row
-- of nulls is returned, after a part of it was relayed, and the caller has to ask again.
--
-- A snapshot that sees transactions which have not begun is refused.
--
-- Must be a transaction of its own: the append lock may be held to its end.
create function seen_after(batch bigint, state pg_snapshot, notify boolean) returns table (first bigint, last bigint)
language plpgsql volatile
set search_path from current
set lock_timeout = 0
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    most constant int := 131072;
    waits boolean;
begin
    if pg_snapshot_xmax(state) > pg_snapshot_xmax(pg_current_snapshot()) then
        raise exception 'a snapshot from the future' using errcode = 'invalid_parameter_value';
    end if;
    if pg_sequence_last_value('outbox_id_seq') is not null then
        select count(*) > most or bool_or(pg_visible_in_snapshot(p.xid, state)) into waits
        from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, most, pg_snapshot_xmax(state)) p;
        if waits then
            perform require_read_committed();
            -- Lock 1 of the schema.
            lock table append_lock in share update exclusive mode;
            if relay_pending(most, 33554432, false, notify) > 0 then
                return query select null::bigint, null::bigint;
                return;
            end if;
        end if;
    end if;
    return query
    select min(g.first), max(g.last)
    from (
        select p.first, p.last, sum(p.apart) over (order by p.first) as stretch
        from (
            select q.first, q.last, (q.first <> lag(q.last, 1, -1::bigint) over (order by q.first) + 1)::int as apart
            from (
                select l.id * 4096 + sum(u.size) over w - u.size as first, l.id * 4096 + sum(u.size) over w - 1 as last, u.xid
                from log l cross join unnest(l.xids, l.sizes) with ordinality u (xid, size, n)
                where l.id > batch and l.snapshot is not null
                window w as (partition by l.id order by u.n)
            ) q
            where pg_visible_in_snapshot(q.xid, state)
        ) p
    ) g
    group by g.stretch
    order by 1;
end
$$;

-- A room named by a template, which is split at its braces: what stands at the even
-- places is the name of a column. Null if one of these columns is null, or if no room
-- can have the name: the change must not fail because of its listeners.
create function fill_room(template text[], fields jsonb) returns text
language plpgsql immutable
as $$
declare
    room text := template[1];
begin
    for i in 1..cardinality(template) / 2 loop
        room := room || (fields ->> template[2 * i]) || template[2 * i + 1];
    end loop;
    if octet_length(room) not between 1 and 255 then
        raise warning 'a changed row is told to nobody: a room cannot have the name %', quote_literal(left(room, 50));
        return null;
    end if;
    return room;
end
$$;

-- The event for one changed row. Room is null if there is nothing to emit: no selected column
-- has changed, or the row names no room.
create function change_event(
    relation text, template text[], columns text[], keys text[], most int, with_old boolean, new jsonb, old jsonb,
    out room text, out other_room text, out payload jsonb, out size int
)
language plpgsql immutable
as $$
declare
    op      text  := case when old is null then 'insert' when new is null then 'delete' else 'update' end;
    named   jsonb := coalesce(new, old);
    old_row jsonb := old;
begin
    room := fill_room(template, named);
    if op = 'update' then
        other_room := fill_room(template, old);
        if room is null then
            room := other_room;
            other_room := null;
        end if;
    end if;
    if room is null then
        return;
    end if;
    if columns <> '{}' then
        new := case when new is not null then (select jsonb_object_agg(c, new -> c) from unnest(columns) c) end;
        old_row := case when old is not null then (select jsonb_object_agg(c, old -> c) from unnest(columns) c) end;
    end if;
    if op = 'update' and new = old_row and room is not distinct from coalesce(other_room, room) then
        room := null;
        return;
    end if;
    payload := jsonb_build_object('op', op, 'table', relation)
        || case when new is null then '{}' else jsonb_build_object('new', new) end
        || case when old_row is null or not with_old then '{}' else jsonb_build_object('old', old_row) end;
    size := octet_length(payload::text);
    if size > most then
        payload := jsonb_build_object('op', op, 'table', relation, 'oversized', size)
            || case when keys = '{}' then '{}'
                    else jsonb_build_object('key', (select jsonb_object_agg(c, named -> c) from unnest(keys) c)) end;
    end if;
end
$$;

-- What a trigger needs of its table as it is now. While the table is the one that the trigger was attached to, a
-- column is found by its number, so it may be renamed; in a copy, which a restored dump is as well, by its name. Virtual
-- generated columns are null in the rows that a trigger sees, and are hidden.
create function watched_table(
    relid oid, attached oid, template text[], columns text[], numbers int[],
    out relation text, out rooms text[], out shown text[], out keys text[], out hidden text[], out missing text
)
language plpgsql stable
set search_path from current
as $$
declare
    root  oid := coalesce(pg_partition_root(watched_table.relid), watched_table.relid);
    count int := cardinality(template) / 2; -- of the columns in the template, whose numbers come first
    names text[];
begin
    if attached = watched_table.relid or exists (select from pg_partition_ancestors(watched_table.relid) p where p.relid = attached) then
        root := attached;
    end if;
    select format('%s.%s', n.nspname, c.relname) into relation
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = root;

    select array_agg(a.attname::text order by u.i), string_agg(quote_ident(u.name), ', ') filter (where a.attname is null)
    into names, missing
    from unnest(array(select template[2 * i] from generate_series(1, count) i order by i) || columns, numbers)
        with ordinality u (name, number, i)
    left join pg_attribute a on a.attrelid = root and a.attnum > 0 and not a.attisdropped
        and case when root = attached then a.attnum = u.number else a.attname = u.name end;
    if array_position(names[:count], null) is null then
        rooms := template;
        for i in 1..count loop
            rooms[2 * i] := names[i];
        end loop;
    end if;
    shown := array_remove(names[count + 1:], null);
    if cardinality(columns) > 0 and cardinality(shown) = 0 then
        rooms := null; -- an empty list would mean every column
    end if;

    keys := array(
        select a.attname::text
        from pg_index i
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        where i.indrelid = root and i.indisprimary);
    hidden := '{}';
    if current_setting('server_version_num')::int >= 180000 then
        hidden := array(
            select a.attname::text
            from pg_attribute a where a.attrelid = root and a.attnum > 0 and not a.attisdropped and a.attgenerated = 'v');
    end if;
end
$$;

-- Reports an error in a trigger: with on_error 'fail' the statement fails, otherwise it is a warning, so that a change of a
-- row does not fail because its event cannot be emitted.
create function trigger_failed(failing boolean, relation text, event text, problem text, state text) returns void
language plpgsql volatile
as $$
begin
    if failing then
        raise exception 'a change of table % cannot be emitted as %: %', relation, quote_literal(event), problem using errcode = state;
    end if;
    raise warning 'a change of table % is not emitted as %: %', relation, quote_literal(event), problem;
end
$$;

-- Collects events of emit_statement in batches of bounded size. All are read before the first is returned.
create function change_batches(events refcursor, out rooms text[], out payloads jsonb[], out others text[]) returns setof record
language plpgsql volatile
as $$
declare
    c     record;
    bytes bigint := 0;
begin
    loop
        fetch events into c;
        exit when not found;
        continue when c.room is null;
        rooms := rooms || c.room;
        payloads := payloads || c.payload;
        others := others || c.other_room;
        bytes := bytes + c.size;
        if bytes > 1048576 or cardinality(rooms) >= 1000 then
            return next;
            rooms := null;
            payloads := null;
            others := null;
            bytes := 0;
        end if;
    end loop;
    if rooms is not null then
        return next;
    end if;
end
$$;

-- The functions of the triggers that attach_trigger creates. They run with the
-- rights of the role that changes the table, because making JSON of a row may run
-- functions that belong to the types of its columns. The form of values in rooms and
-- payloads does not depend on the settings of the session.
--
-- The statement's rows come to emit_many in pieces of bounded size. Offset 0 keeps
-- Postgres from computing an event once for each of its parts. Old and new rows of an update are paired by their places: Postgres appends each pair to the two
-- transition tables together. Nested loops are off because the plan, made for few
-- rows, serves many as well.
--
-- Nothing is written inside of the blocks with an exception clause: subtransactions
-- that write make every snapshot of the database slower once a transaction has many.
create function emit_statement() returns trigger
language plpgsql volatile
set search_path from current
set jit = off
set enable_nestloop = off
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set quote_all_identifiers = off
set lc_monetary = 'C'
as $$
declare
    most     int     := tg_argv[6];
    with_old boolean := tg_argv[7];
    failing  boolean := tg_argv[9] = 'fail';
    events   refcursor;
    batches  refcursor;
    w        record;
    c        record;
    denied   text;
begin
    -- Without the privileges of allow_emit the functions below may not even be found.
    if has_function_privilege(to_regprocedure('emit_many(text[], text, jsonb[], text[], text, boolean, boolean)'), 'execute') is not true then
        denied := format('a change of table %s is not emitted as %L: role %I may not emit; the owner of the schema allows it with: select %4$s.allow_emit(%3$L)',
                         tg_relid::regclass, tg_argv[0], current_user, split_part(current_setting('search_path'), ',', 1));
        if failing then
            raise insufficient_privilege using message = denied;
        end if;
        raise warning '%', denied;
        return null;
    end if;
    begin
        w := watched_table(tg_relid, tg_argv[2]::oid, tg_argv[3]::text[], tg_argv[4]::text[], tg_argv[5]::int[]);
        if w.missing is not null then
            perform trigger_failed(failing, w.relation, tg_argv[0], format('column %s does not exist any more; attach the trigger again', w.missing), 'undefined_column');
        end if;
        if w.rooms is null then
            return null;
        end if;
        if tg_op = 'INSERT' then
            open events for
                select (e.e).* from (
                    select change_event(w.relation, w.rooms, w.shown, w.keys, most, with_old, to_jsonb(n.*) - w.hidden, null) as e
                    from new_rows n
                    offset 0
                ) e;
        elsif tg_op = 'DELETE' then
            open events for
                select (e.e).* from (
                    select change_event(w.relation, w.rooms, w.shown, w.keys, most, with_old, null, to_jsonb(o.*) - w.hidden) as e
                    from old_rows o
                    offset 0
                ) e;
        elsif (select count(*) from new_rows) <> (select count(*) from old_rows) then
            perform trigger_failed(failing, w.relation, tg_argv[0],
                'rows changed their partition and were not kept; attach the trigger to the partitions, per row', 'feature_not_supported');
            return null;
        else
            open events for
                select (e.e).* from (
                    select change_event(w.relation, w.rooms, w.shown, w.keys, most, with_old, n.fields, o.fields) as e
                    from (select to_jsonb(r.*) - w.hidden as fields, row_number() over () as i from new_rows r) n
                    join (select to_jsonb(r.*) - w.hidden as fields, row_number() over () as i from old_rows r) o on o.i = n.i
                    order by n.i
                    offset 0
                ) e;
        end if;
        open batches for select * from change_batches(events);
    exception when others then
        perform trigger_failed(failing, tg_relid::regclass::text, tg_argv[0], sqlerrm, sqlstate);
        return null;
    end;
    loop
        begin
            fetch batches into c;
        exception when others then
            perform trigger_failed(failing, w.relation, tg_argv[0], sqlerrm, sqlstate);
            return null; -- the cursor went with the block
        end;
        exit when not found;
        perform emit_many(c.rooms, tg_argv[0], c.payloads, c.others, tg_argv[1], tg_argv[8]::boolean, not failing);
    end loop;
    close batches;
    close events; -- else it stays open to the end of the transaction
    return null;
end
$$;

create function emit_row() returns trigger
language plpgsql volatile
set search_path from current
set jit = off
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set quote_all_identifiers = off
set lc_monetary = 'C'
as $$
declare
    failing boolean := tg_argv[9] = 'fail';
    w      record;
    e      record;
    denied  text;
begin
    -- Without the privileges of allow_emit the functions below may not even be found.
    if has_function_privilege(to_regprocedure('emit_many(text[], text, jsonb[], text[], text, boolean, boolean)'), 'execute') is not true then
        denied := format('a change of table %s is not emitted as %L: role %I may not emit; the owner of the schema allows it with: select %4$s.allow_emit(%3$L)',
                         tg_relid::regclass, tg_argv[0], current_user, split_part(current_setting('search_path'), ',', 1));
        if failing then
            raise insufficient_privilege using message = denied;
        end if;
        raise warning '%', denied;
        return null;
    end if;
    begin
        w := watched_table(tg_relid, tg_argv[2]::oid, tg_argv[3]::text[], tg_argv[4]::text[], tg_argv[5]::int[]);
        if w.missing is not null then
            perform trigger_failed(failing, w.relation, tg_argv[0], format('column %s does not exist any more; attach the trigger again', w.missing), 'undefined_column');
        end if;
        if w.rooms is null then
            return null;
        end if;
        e := change_event(w.relation, w.rooms, w.shown, w.keys, tg_argv[6]::int, tg_argv[7]::boolean,
                          case when tg_op <> 'DELETE' then to_jsonb(new) - w.hidden end, case when tg_op <> 'INSERT' then to_jsonb(old) - w.hidden end);
    exception when others then
        perform trigger_failed(failing, tg_relid::regclass::text, tg_argv[0], sqlerrm, sqlstate);
        return null;
    end;
    if e.room is not null then
        perform emit_many(array[e.room], tg_argv[0], array[e.payload], array[e.other_room], tg_argv[1], tg_argv[8]::boolean, not failing);
    end if;
    return null;
end
$$;

-- Attaches triggers to a table that emit an event for each row that changes, to the
-- room that the template makes of the row's columns: 'orders:{customer_id}'. An
-- event is attached once to a table; attaching it again changes how.
--
-- The columns may be renamed afterwards, and so may the table. When a change cannot be
-- emitted, for instance because a column was dropped, the change is made all the same, with
-- a warning; with on_error => 'fail' the statement fails instead.
--
-- The caller must be allowed to create triggers on the table.
create function attach_trigger(
    target regclass, room text, event text default null, columns text[] default '{}',
    operations text[] default '{insert,update,delete}', namespace text default '/', old_values boolean default true,
    max_bytes int default 65536, per_row boolean default false, replicated boolean default false, notify boolean default false,
    on_error text default 'warn'
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    relation text;
    template text[] := regexp_split_to_array(room, '[{}]');
    named    text[];
    numbers  int[];
    op       text;
    name     text;
    missing  text;
    virtual  text;
begin
    select format('%s.%s', n.nspname, c.relname) into relation
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target;
    event := coalesce(event, (select relname from pg_class where oid = target));
    if cardinality(template) % 2 = 0 or room is null or room ~ '[{][^}]*[{]' then
        raise exception 'malformed template for a room: %', quote_nullable(room) using errcode = 'invalid_parameter_value', hint = 'For example: orders:{customer_id}';
    end if;
    named := array(select template[2 * i] from generate_series(1, cardinality(template) / 2) i order by i) || coalesce(columns, '{}');
    select array_agg(a.attnum::int order by u.i), string_agg(distinct quote_ident(u.c), ', ') filter (where a.attnum is null),
           string_agg(distinct quote_ident(u.c), ', ') filter (where a.attgenerated = 'v')
    into numbers, missing, virtual
    from unnest(named) with ordinality u (c, i)
    left join pg_attribute a on a.attrelid = target and a.attname = u.c and a.attnum > 0 and not a.attisdropped;
    if missing is not null then
        raise exception 'table % has no column %', relation, missing using errcode = 'undefined_column';
    elsif virtual is not null then
        raise exception 'column % of table % is generated when it is read: a trigger does not see its value', virtual, relation
            using errcode = 'feature_not_supported', hint = 'Generate it as stored, or name the columns that it is made of.';
    elsif operations is null or operations = '{}' or not operations <@ '{insert,update,delete}' then
        raise exception 'operations are some of insert, update, delete' using errcode = 'invalid_parameter_value';
    elsif max_bytes is null or max_bytes not between 100 and 1000000 then
        raise exception 'max_bytes is between 100 and 1000000' using errcode = 'invalid_parameter_value';
    elsif on_error is null or on_error not in ('warn', 'fail') then
        raise exception 'on_error is warn or fail' using errcode = 'invalid_parameter_value';
    end if;

    perform detach_trigger(target, event);
    for op in select distinct o from unnest(operations) o loop
        name := 'socketio_' || op || '_' || left(encode(sha256(convert_to(current_schema() || ' ' || event, 'UTF8')), 'hex'), 16);
        execute format('create trigger %I after %s on %s %s execute function %I.%I(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L)',
            name, op, target,
            case when per_row then 'for each row'
                 when op = 'insert' then 'referencing new table as new_rows for each statement'
                 when op = 'delete' then 'referencing old table as old_rows for each statement'
                 else 'referencing old table as old_rows new table as new_rows for each statement' end,
            current_schema(),
            case when per_row then 'emit_row' else 'emit_statement' end,
            event, namespace, target::oid, template, coalesce(columns, '{}'), coalesce(numbers, '{}'), max_bytes, old_values, notify, on_error);
        if replicated then
            execute format('alter table %s enable always trigger %I', target, name);
        end if;
    end loop;
end
$$;

-- Detaches what attach_trigger attached, for one event or for all. Returns whether
-- there was something.
create function detach_trigger(target regclass, event text default null) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
    t     record;
    found boolean := false;
begin
    for t in
        select g.tgname from pg_trigger g join pg_proc f on f.oid = g.tgfoid
        where g.tgrelid = target and not g.tgisinternal and g.tgparentid = 0
          and f.pronamespace = quote_ident(current_schema())::regnamespace
          and f.proname in ('emit_statement', 'emit_row')
          and (event is null or g.tgname like 'socketio\_%\_' || left(encode(sha256(convert_to(current_schema() || ' ' || event, 'UTF8')), 'hex'), 16))
    loop
        execute format('drop trigger %I on %s', t.tgname, target);
        found := true;
    end loop;
    return found;
end
$$;

-- Requests of clients that run once, see pgadapter.Once.
--
-- The row of a request is written in the transaction of its effects: first without an answer, which makes a
-- repetition wait at the primary key for the end of that transaction, and then with the answer. Requests are separate for
-- each role.

create table answers (
    expires_at timestamptz not null,
    xid        xid8        not null default pg_current_xact_id(),
    role       text        collate "C" not null,
    request    bytea       not null,
    content    bytea       not null,
    answer     bytea,
    constraint answers_pkey primary key (request, role),
    constraint answers_sizes check (octet_length(request) = 32 and octet_length(content) = 32 and octet_length(answer) <= 1048576)
);

create index answers_expiry on answers (expires_at);

comment on table answers is 'the answers to requests that run once, for repetitions';
comment on column answers.request is 'the SHA-256 of the client, the name of the request and its key';
comment on column answers.content is 'the SHA-256 of what was requested';
comment on column answers.answer is 'the JSON of the answer; null until the effects of the request are complete';
comment on column answers.xid is 'the transaction of the effects';

-- Claims a request for the caller's transaction, which is to have its effects. Waits while another transaction that has
-- claimed it is open. If the request was answered, claimed is false, and same tells whether it had this content.
--
-- Postgres ends the transaction when it is idle for idle_ms, so that a client that is frozen does not keep the request.
create function claim_request(request bytea, content bytea, keep_ms bigint, idle_ms bigint, out claimed boolean, out same boolean, out answer bytea)
language plpgsql volatile security definer
set search_path from current
as $$
declare
    caller constant text := outbox_caller();
    most   constant bigint := (select m.outbox_limit from meta m);
    idle   interval := current_setting('idle_in_transaction_session_timeout')::interval;
begin
    if most is null then
        perform meta_lost();
    end if;
    if caller <> current_user and pg_table_size('answers'::regclass) > most then
        perform refuse_full(caller, 'table answers', most);
    end if;
    if idle = interval '0' or idle > idle_ms * interval '1 millisecond' then
        perform set_config('idle_in_transaction_session_timeout', idle_ms::text, true);
    end if;
    insert into answers as a (role, request, content, expires_at)
    values (caller, claim_request.request, claim_request.content, clock_timestamp() + keep_ms * interval '1 millisecond')
    on conflict on constraint answers_pkey do update
    set content = excluded.content, expires_at = excluded.expires_at, xid = excluded.xid, answer = null
    where a.expires_at <= clock_timestamp();
    claimed := found;
    if not claimed then
        -- The statement above has locked the row.
        select a.content = claim_request.content, a.answer into same, claim_request.answer
        from answers a where a.request = claim_request.request and a.role = caller;
    end if;
end
$$;

-- Stores the answer to the request that the caller's transaction has claimed; its role may have changed since. Returns
-- false if this transaction has not claimed it.
create function answer_request(request bytea, answer bytea, keep_ms bigint) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
begin
    update answers a
    set answer = answer_request.answer, expires_at = clock_timestamp() + keep_ms * interval '1 millisecond'
    where a.request = answer_request.request and a.xid = pg_current_xact_id();
    return found;
end
$$;

create view view_rooms as
select s.namespace, r.room, count(*) as sessions, count(s.node) as connected
from session_rooms r join sessions s using (pid_hash)
where r.left_at is null
group by s.namespace, r.room;

-- Without pid_hash.
create view view_presence as
select p.namespace, p.event, p.room, p.sid, p.state, p.entered_at, n.name as node, s.node is null as parked
from presence p
join sessions s using (pid_hash)
left join nodes n on n.id = s.node;

comment on view view_presence is 'who is present in which room, as Presence.Members has it';
comment on column view_presence.parked is 'the client is away, and may come back';

create view view_presence_rooms as
select p.namespace, p.event, p.room, count(*) as members
from presence p
group by p.namespace, p.event, p.room;

create function outbox_waiting() returns table (waiting bigint, oldest timestamptz, bytes bigint)
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select coalesce(sum(p.packets), 0)::bigint, min(p.at), coalesce(sum(p.size), 0)::bigint
    from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, null) p;
end
$$;

create view view_outbox as select * from outbox_waiting();

comment on view view_outbox is 'what was committed and is not in the log yet';

-- Fails unless the caller has the rights of the schema's owner: without them GRANT only warns, and grants nothing.
create function require_owner(call text) returns void
language plpgsql stable
set search_path from current
as $$
begin
    if not pg_has_role((select n.nspowner from pg_namespace n where n.nspname = current_schema()), 'usage') then
        raise insufficient_privilege using message = format('only the owner of schema "%s" may call %s', current_schema(), call);
    end if;
end
$$;

-- Allows a role to emit, and to run requests once, and nothing else: it cannot read or write tables of the schema.
create function allow_emit(role regrole) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    perform require_owner('allow_emit');
    execute format('grant usage on schema %I to %s', current_schema(), role);
    execute format(
        'grant execute on function emit_event, emit, emit_to, emit_all, emit_many, emit_packet, snapshot_token,
             emit_statement, emit_row, claim_request, answer_request to %s', role);
end
$$;

-- Allows a role to emit, to change the rooms of sockets, and to disconnect them.
create function allow_operate(role regrole) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    perform require_owner('allow_operate');
    perform allow_emit(role);
    execute format('grant execute on function operate, join_room, leave_room, disconnect to %s', role);
end
$$;

-- What nodes record for each other, and views for people.

comment on column nodes.server is 'the name of the server on this node, which outlives the id; null without one';
comment on column nodes.bound is 'deliveries to the server begin after this position';
comment on column nodes.frames is 'the newest frame version that the node reads; nodes write no newer one while it is registered';
comment on column nodes.host is 'the host name of the machine or container of the node, and pid its process there';
comment on column nodes.version is 'the version of this module in the program of the node';
comment on column nodes.ended is 'the node is fenced, and its sessions are being parked';

-- The nodes whose checkpoints continue the ones before. Postgres empties an unlogged table in crash recovery and on
-- promotion of a standby. It may then lack acknowledged writes, so the node's next checkpoint covers all of its sessions.
-- Connections do not show this: a pooler keeps them open.
create unlogged table node_marks (
    id bigint not null,
    constraint node_marks_pkey primary key (id),
    constraint node_marks_node foreign key (id) references nodes on delete cascade
);

-- Fails if Postgres may have lost writes since the last checkpoint of the node.
create function check_mark(node bigint) returns void
language plpgsql stable
set search_path from current
as $$
begin
    perform from node_marks m where m.id = check_mark.node;
    if not found then
        raise exception 'Postgres has crashed, or is another server' using errcode = 'PS005';
    end if;
end
$$;

create function check_fence(node bigint, batch bigint, origin bigint, seq bigint) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    perform from nodes n where n.id = check_fence.node and not n.ended for key share;
    if not found then
        raise exception 'node % is not in the cluster', node using errcode = 'no_data_found';
    end if;
    perform from log l where l.id = check_fence.batch and l.origin = check_fence.origin and l.seq = check_fence.seq;
    if not found and check_fence.batch > (select m.low / 4096 from meta m) then
        raise exception 'the log has lost batch %', batch using errcode = 'PS001';
    end if;
end
$$;

-- Ends the registration of a node: parks its sessions, with what its checkpoints prove, and
-- appends to the log that its server has left. The epochs rise, so later writes of that node
-- are refused.
--
-- A call parks most sessions at most, so that none takes long. It returns false when
-- some are left: the node is fenced all the same, and any node may call again. It
-- returns true after the last of them, and null if there is no such node.
--
-- Locks: the row of the node, the rows of its sessions by pid_hash, and last the append
-- lock, whose holders never wait for the others. The batch is named by the id of the node, so
-- there is at most one.
create function end_node(node bigint, notify boolean, most int default 10000) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
    ended nodes;
    body  bytea;
    held  bigint;
begin
    select * into ended from nodes n where n.id = end_node.node for update;
    if not found then
        return null;
    end if;
    with held as materialized (
        select s.pid_hash from sessions s where s.node = end_node.node order by s.pid_hash limit most for update
    )
    update sessions s
    set covered    = case when s.checkpointed then greatest(s.covered, ended.checkpoint) else s.covered end,
        checkpointed = false,
        node       = null,
        epoch      = s.epoch + 1,
        expires_at = clock_timestamp() + s.window_ms * interval '1 millisecond'
    from held
    where s.pid_hash = held.pid_hash;
    get diagnostics held = row_count;
    if held = most then
        update nodes n set ended = true where n.id = end_node.node and not n.ended;
        return false;
    end if;
    delete from nodes n where n.id = end_node.node;
    if ended.server is not null then
        -- A frame as described at the table log, with one packet of kind 8.
        body := convert_to(ended.server, 'UTF8');
        perform append(end_node.node, 0, 1,
            int2send(264::int2) || int4send(12 + octet_length(body)) || int4send(0) || int2send(0::int2) -- version 1, kind 8, no names
            || int4send(octet_length(body)) || body || int2send(0::int2), notify);
    end if;
    return true;
end
$$;

-- The packets of a frame, see the table log.
create function frame_packets(frame bytea)
returns table (index int, kind int, namespace text, rooms text[], except_rooms text[], payload bytea, attachments int, bytes int)
language plpgsql immutable
set search_path from current
as $$
declare
    at    int := 1;
    stop  int;
    size  int;
    count int;
    list  text[];
begin
    index := 0;
    while at < octet_length(frame) loop
        kind := get_byte(frame, at);
        bytes := ('x' || encode(substr(frame, at + 2, 4), 'hex'))::bit(32)::int;
        at := at + 5;
        stop := at + bytes;
        if kind <> 255 then -- else it was withdrawn
            size := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
            namespace := name_text(substr(frame, at + 3, size));
            at := at + 2 + size;
            for which in 1..2 loop
                list := '{}';
                count := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
                at := at + 2;
                for i in 1..count loop
                    size := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
                    list := list || name_text(substr(frame, at + 3, size));
                    at := at + 2 + size;
                end loop;
                if which = 1 then
                    rooms := list;
                else
                    except_rooms := list;
                end if;
            end loop;
            size := ('x' || encode(substr(frame, at + 1, 4), 'hex'))::bit(32)::int;
            payload := substr(frame, at + 5, size);
            at := at + 4 + size;
            attachments := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
            return next;
        end if;
        at := stop;
        index := index + 1;
    end loop;
end
$$;

-- A name or payload as people read it: what is no text, such as one with the
-- character U+0000, with escapes.
create function name_text(name bytea) returns text
language plpgsql immutable
set search_path from current
as $$
begin
    return convert_from(name, 'UTF8');
exception when others then
    return encode(name, 'escape');
end
$$;

-- New columns come last: views are replaced in place and keep their grants.
create view view_nodes as
select n.name, n.id, n.started, n.seen, n.position,
       (select count(*) from sessions s where s.node = n.id) as sessions,
       n.server, n.bound,
       greatest((select coalesce(max(l.id), 0) from log l) - n.position / 4096, 0) as batches_behind,
       clock_timestamp() - n.seen as silent,
       n.lease_ms * interval '1 millisecond' as lease,
       n.retention_ms * interval '1 millisecond' as retention,
       n.host, n.pid, n.version
from nodes n;

comment on view view_nodes is 'the nodes that live or have not been found dead yet';
comment on column view_nodes.batches_behind is 'what was appended since the node was seen counts as well';
comment on column view_nodes.server is 'as Server.Nodes has it; null for a node without a server';

-- Without pid_hash and identity.
create view view_sessions as
select s.sid, s.namespace, n.name as node, n.server,
       s.node is null as parked, s.expires_at,
       s.window_ms * interval '1 millisecond' as recovery_window,
       s.opened, s.covered,
       coalesce((select array_agg(r.room order by r.joined_at, r.room) from session_rooms r
                 where r.pid_hash = s.pid_hash and r.left_at is null), '{}') as rooms,
       coalesce((select array_agg(d.key order by d.key) from session_data d where d.pid_hash = s.pid_hash), '{}') as data_keys
from sessions s
left join nodes n on n.id = s.node;

comment on view view_sessions is 'what clients can come back to, without the room of its own';
comment on column view_sessions.covered is 'position up to which the rooms are complete, if no checkpoint of the node says more';

create view view_packets as
select l.id * 4096 + p.index as position, l.at,
       coalesce((array['event', 'volatile', 'session_moved', 'join', 'leave', 'disconnect', 'request', 'response', 'node_left', 'history', 'watch'])[p.kind + 1], p.kind::text) as kind,
       p.namespace, p.rooms, p.except_rooms, p.attachments, p.bytes,
       case when p.kind not in (2, 7) then name_text(p.payload) end as payload
from log l
cross join lateral frame_packets(l.frame) p;

comment on view view_packets is 'the log, packet by packet; ask for a range of positions: every frame in question is decoded';
comment on column view_packets.payload is 'null for session_moved, which names a session, and for response, which may contain handshakes and data of sockets';
comment on column view_packets.rooms is 'the audience: sockets in any of these rooms, all if empty';

create view view_log as
select m.low as kept_after,
       coalesce(h.id * 4096 + h.packets - 1, m.low) as position,
       h.at,
       (select sum(pg_total_relation_size(t.relid))::bigint from pg_partition_tree('log'::regclass) t) as bytes,
       m.schema_version
from meta m
left join lateral (select l.id, l.packets, l.at from log l order by l.id desc limit 1) h on true;

comment on view view_log is 'the ends of the log, its size, and the version of the schema';
comment on column view_log.kept_after is 'the newest position that is no longer kept';
comment on column view_log.position is 'the newest position';
comment on column view_log.at is 'when the newest batch was appended; null if none is kept';

create function allow_read(role regrole) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    perform require_owner('allow_read');
    execute format('grant usage on schema %I to %s', current_schema(), role);
    execute format('grant select on view_nodes, view_rooms, view_outbox, view_sessions, view_presence, view_presence_rooms, view_packets, view_log to %s', role);
    execute format('grant execute on function outbox_waiting, frame_packets, name_text to %s', role);
end
$$;

comment on column meta.works_from is 'the oldest schema version that a program must know to work with this schema';

-- Every role that may use the schema could otherwise call what runs with its owner's rights.
revoke execute on function emit_event, emit, emit_to, emit_all, emit_many, emit_packet, snapshot_token,
    emit_statement, emit_row, claim_request, answer_request, operate, join_room, leave_room, disconnect,
    allow_emit, allow_operate, allow_read, outbox_waiting from public;

insert into meta (relayed_on) values (server_identity());
