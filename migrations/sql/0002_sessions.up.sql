-- The nodes of the cluster, and the sessions that clients can come back to.
--
-- Run with search_path = "<schema>".
--
-- Locks are taken in this order: the row of a node, the rows of sessions by pid_hash,
-- the rest.

-- See 0001_log.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false);

create table nodes (
    id           bigint      not null,
    position     bigint      not null,
    checkpoint   bigint,
    retention_ms bigint      not null,
    lease_ms     bigint      not null,
    started      timestamptz not null default clock_timestamp(),
    seen         timestamptz not null default clock_timestamp(),
    name         text        not null,
    constraint nodes_pkey primary key (id)
) with (fillfactor = 50);

comment on column nodes.id is 'one life of a node: it changes when the others thought the node dead';
comment on column nodes.position is 'how far the node had read the log when it was last seen';
comment on column nodes.retention_ms is 'how long this node wants records to be kept; the longest counts';
comment on column nodes.lease_ms is 'how long this node may be silent before the others take its sessions';
comment on column nodes.checkpoint is 'up to here nothing is missing in the sessions of this node that are settled';

-- Keeps the row of a node to the end of the transaction, or fails if it is
-- missing. Whoever parks the sessions of a dead node locks its row for update
-- first, so a session that is given to the node meanwhile is not overlooked.
--
-- Fails too if the log does not have the batch that the node read last, though it
-- has not trimmed it: then the database has lost the end of the log, and the
-- positions that the node knows are not those of this log.
create function check_fence(node bigint, batch bigint, origin bigint, seq bigint) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    perform from nodes n where n.id = check_fence.node for key share;
    if not found then
        raise exception 'node % is not in the cluster', node using errcode = 'no_data_found';
    end if;
    perform from log l where l.id = check_fence.batch and l.origin = check_fence.origin and l.seq = check_fence.seq;
    if not found and check_fence.batch > (select m.low / 4096 from meta m) then
        raise exception 'the log has lost batch %', batch using errcode = 'PS001';
    end if;
end
$$;

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
    checkpointed        boolean     not null,
    pid_hash       text        collate "C" not null,
    identity       text        not null default '',
    sid            text        not null,
    namespace      text        not null,
    initial_offset           text        not null,
    last           text        not null,
    last_before    text,
    last_proven    text,
    constraint sessions_pkey primary key (pid_hash),
    constraint sessions_held_or_parked check ((node is null) = (expires_at is not null))
) with (fillfactor = 70);

create index sessions_node on sessions (node, pid_hash) where node is not null;
create index sessions_expiry on sessions (expires_at) where expires_at is not null;

comment on column sessions.node is 'who holds the session; null while it is parked';
comment on column sessions.epoch is 'the tenure: a write that names another one is refused';
comment on column sessions.pid_hash is 'the SHA-256 of what the client comes back with: nobody can come back with the hash';
comment on column sessions.identity is 'to what the session is bound: an HMAC under what the client comes back with; empty for nothing';
comment on column sessions.initial_offset is 'the offset with which the client came when the session was opened';
comment on column sessions.last is 'the last offset sent to the client; empty for none';
comment on column sessions.known is 'last is true: after it nothing addressed the session up to covered';
comment on column sessions.last_before is 'the last that was known before, for a client that did not get what came then';
comment on column sessions.covered_before is 'after last_before nothing addressed the session up to here';
comment on column sessions.last_proven is 'the offset with which the client came last; null if it never came back';
comment on column sessions.covered_proven is 'after last_proven nothing addressed the session up to here';
comment on column sessions.checkpointed is 'what covered says holds as far as the checkpoint of the node';

-- A room is held from just after joined_at up to and including left_at.
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

alter table meta alter column schema_version set default 2;
update meta set schema_version = 2;
