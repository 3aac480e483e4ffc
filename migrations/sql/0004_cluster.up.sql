-- What nodes know of each other, and views of it all for people.
--
-- Run with search_path = "<schema>".

-- See 0001_log.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false);

alter table nodes
    add column server text collate "C",
    add column bound  bigint,
    add column ended  boolean not null default false,
    add column frames smallint not null default 1;

comment on column nodes.server is 'the name of the server on this node, which outlives the id; null without one';
comment on column nodes.bound is 'the server is delivered what comes after this position';

comment on column nodes.frames is 'the newest version of a frame of the log that the node reads; newer ones are not written meanwhile';

comment on column nodes.ended is 'the life is over: the node finds its row missing, and its sessions are being parked';

-- See 0002_sessions.
create or replace function check_fence(node bigint, batch bigint, origin bigint, seq bigint) returns void
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

-- Ends the life of a node: parks what it held, with what its checkpoints prove, and
-- tells the others through the log that its server is gone. The epochs rise, so
-- whatever that node still writes is refused.
--
-- A call parks most sessions at most, so that none takes long. It returns false when
-- some are left: the life is over then all the same, and any node may call again. It
-- returns true after the last of them, and null if there is no such node.
--
-- Locks: the row of the node, the rows of its sessions by pid_hash, and last the append
-- lock, whose holders never wait for the others. The batch is named by the life, so
-- there is one at most.
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
        checkpointed    = false,
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
        -- A frame as 0001_log has it, with one packet of kind 8.
        body := convert_to(ended.server, 'UTF8');
        perform append(end_node.node, 0, 1,
            int2send(264::int2) || int4send(12 + octet_length(body)) || int4send(0) || int2send(0::int2) -- version 1, kind 8, no names
            || int4send(octet_length(body)) || body || int2send(0::int2), notify);
    end if;
    return true;
end
$$;

-- The packets of a frame, see 0001_log.
create function frame_packets(frame bytea)
returns table (index int, kind int, namespace text, rooms text[], except_rooms text[], payload bytea, attachments int, bytes int)
language plpgsql immutable
set search_path from current
as $$
declare
    at    int := 1;
    size  int;
    count int;
    list  text[];
begin
    index := 0;
    while at < octet_length(frame) loop
        kind := get_byte(frame, at);
        bytes := ('x' || encode(substr(frame, at + 2, 4), 'hex'))::bit(32)::int;
        at := at + 5;
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
            at := at + 2;
            for i in 1..attachments loop
                at := at + 4 + ('x' || encode(substr(frame, at + 1, 4), 'hex'))::bit(32)::int;
            end loop;
            return next;
        end if;
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

-- New columns come last: views are replaced in place, with the rights to them.
create or replace view view_nodes as
select n.name, n.id, n.started, n.seen, n.position,
       (select count(*) from sessions s where s.node = n.id) as sessions,
       n.server, n.bound,
       greatest((select coalesce(max(l.id), 0) from log l) - n.position / 4096, 0) as batches_behind,
       clock_timestamp() - n.seen as silent,
       n.lease_ms * interval '1 millisecond' as lease,
       n.retention_ms * interval '1 millisecond' as retention
from nodes n;

comment on view view_nodes is 'the nodes that live or have not been found dead yet';
comment on column view_nodes.batches_behind is 'what was appended since the node was seen counts as well';
comment on column view_nodes.server is 'as Server.Nodes has it; null for a node without a server';

-- Without pid_hash and identity: they are of no use to people.
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
       coalesce((array['event', 'volatile', 'evict', 'join', 'leave', 'disconnect', 'request', 'answer', 'gone'])[p.kind + 1], p.kind::text) as kind,
       p.namespace, p.rooms, p.except_rooms, p.attachments, p.bytes,
       case when p.kind not in (2, 7) then name_text(p.payload) end as payload
from log l
cross join lateral frame_packets(l.frame) p;

comment on view view_packets is 'the log, packet by packet; ask for a range of positions: every frame in question is decoded';
comment on column view_packets.payload is 'null for an eviction, which names a session, and for an answer, which may have what sockets are: cookies, tokens, data';
comment on column view_packets.rooms is 'to whom: any of these rooms, everybody if empty';

create or replace function allow_read(role regrole) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    execute format('grant usage on schema %I to %s', current_schema(), role);
    execute format('grant select on view_nodes, view_rooms, view_outbox, view_sessions, view_packets to %s', role);
    execute format('grant execute on function outbox_waiting, frame_packets, name_text to %s', role);
end
$$;

-- A program that is older than the tables works with them if it knows this version. A migration
-- raises it, and the default, when programs that know an older one no longer do.
alter table meta add column works_from int not null default 4;

comment on column meta.works_from is 'programs that know this version of the schema, or a later one, work with it';

alter table meta alter column schema_version set default 4;
update meta set schema_version = 4;
