-- The log: every envelope that the nodes publish, in one order.
--
-- Run with search_path = "<schema>": the names below are unqualified.

-- What runs with its owner's rights must not find the temporary tables of its callers
-- first. The functions below keep the search_path that is set here, whatever that of
-- the connection was.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false);

-- What is known of the log as a whole: one row.
create table meta (
    low            bigint      not null default 0,
    log_number     bigint      not null default ('x' || left(gen_random_uuid()::text, 8))::bit(32)::bigint | 1,
    slot_started   timestamptz not null default clock_timestamp(),
    notification_key       bytea       not null default sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')),
    schema_version int         not null default 1,
    slot           smallint    not null default 0,
    only_row       boolean     not null default true,
    constraint meta_pkey primary key (only_row),
    constraint meta_one_row check (only_row),
    constraint meta_slot check (slot between 0 and 2)
);

comment on column meta.low is 'the newest position that is no longer kept';
comment on column meta.log_number is 'tells this log from any other: a random 32-bit number, not zero, that offsets carry';
comment on column meta.notification_key is 'a secret of the nodes: any role may LISTEN and NOTIFY. Nodes notice when it changes';
comment on column meta.slot is 'the partition of log that is appended to';

-- The default says which version the structure has, also where a dump came without rows.
comment on column meta.schema_version is 'the version of the schema; every migration sets it, and the default';

insert into meta default values;

-- The id of a batch. It is taken under the append lock, so a batch that commits
-- later has the greater id. Without that lock a reader of "id > cursor" skips
-- what commits late. Cache 1: a cached range would break that order.
create sequence log_id_seq as bigint cache 1;

-- One row per batch of packets. The position of a packet is id * 4096 + index.
--
-- The frame, all integers big-endian (int2send, int4send):
--
--   frame   := version uint8 = 1, packet *
--   packet  := kind uint8, size uint32 of what follows, body
--   body    := namespace name, rooms list, except list,
--              payload blob, count uint16, attachment blob *
--   list    := count uint16, name *
--   name    := size uint16, bytes
--   blob    := size uint32, bytes
--
-- Kinds: 0 event, 1 volatile event, 2 eviction, 255 withdrawn (no body).
create table log (
    id      bigint      not null,
    origin  bigint      not null,
    seq     bigint      not null,
    at      timestamptz not null default clock_timestamp(),
    packets int         not null,
    slot    smallint    not null,
    frame   bytea       not null,
    constraint log_packets check (packets between 1 and 4096)
) partition by list (slot);

comment on column log.origin is 'the publisher: a random number of one process';
comment on column log.seq is 'the number of the batch at its origin; (origin, seq) names the batch for ever';

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

-- What the bell of a batch says: its name and, if it comes along, the sealed frame.
-- The node that appends has encrypted that with a key made of meta's notification_key, because
-- any role may LISTEN; what is in front of it binds it to its place in the log, because
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

-- Says what is wrong with a schema whose meta has lost its row.
create function meta_lost() returns void
language plpgsql stable
set search_path from current
as $$
begin
    raise exception 'table meta of schema % has lost its only row: nothing can be emitted', current_schema()
        using errcode = 'PS003', hint = 'migrations.Up, or pgsocket migrate up, puts it back.';
end
$$;

-- Sees to it that the next id comes after all that the log has, and had: a copy of the
-- tables, such as that of logical replication, does not bring the value of the sequence
-- along. The append lock must be held.
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

-- Sets a sequence of the schema with its owner's rights: a node has only those to use it.
create function set_sequence(sequence regclass, value bigint) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform setval(sequence, value);
end
$$;

revoke execute on function set_sequence from public;

-- Appends a batch and rings the bell; returns the batch's id. A batch that is in
-- the log already is left alone, and its id returned.
--
-- Sealed is the frame as it comes along with the bell, null if it does not. Without
-- ring nobody is notified of anything. A batch that is near concerns nobody
-- but the caller for now, and rings no bell of its own. The caller then learns what
-- is in the log between the batch that it has, named by after, and the new one, if
-- that is little: it need not read the log. The first is after itself, by name only.
--
-- Must be a transaction of its own: the append lock is held to its end.
create function append(
    origin bigint, seq bigint, packets int, frame bytea, notify boolean, local_only boolean default false, after bigint default 0,
    sealed bytea default null,
    out batch bigint, out ids bigint[], out origins bigint[], out seqs bigint[], out counts int[], out frames bytea[])
language plpgsql volatile
set search_path from current
set lock_timeout = 0
as $$
declare
    slot_now smallint;
    key      bytea;
begin
    -- With one snapshot for the whole transaction what others append while this one waits
    -- for the lock could not be seen.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the log is appended to at isolation level read committed, not %', current_setting('transaction_isolation')
            using errcode = 'PS002', hint = 'alter role ... set default_transaction_isolation = ''read committed''';
    end if;

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
               array_agg(l.packets order by l.id), array_agg(case when l.id > after then l.frame end order by l.id)
        into ids, origins, seqs, counts, frames
        from log l where l.id >= append.after and l.id < batch
        having coalesce(sum(octet_length(l.frame)) filter (where l.id > after), 0) <= 65536;
    end if;
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

    -- Whoever waits for this lock makes every reader wait behind it, so it is
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
    execute format('truncate only %I', next);
    return true;
end
$$;

-- Goes on to the next partition if that is empty and the current one has been
-- appended to for half the retention. Reports whether it did.
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
