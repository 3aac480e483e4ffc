-- See 0001_log.up.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false);
alter table meta alter column schema_version set default 3;
update meta set schema_version = 3;
drop view view_packets, view_sessions;
drop view view_nodes;
drop function frame_packets, name_text, end_node;
alter table nodes drop column server, drop column bound, drop column ended, drop column frames;
alter table meta drop column works_from;

create or replace function check_fence(node bigint, batch bigint, origin bigint, seq bigint) returns void
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

create view view_nodes as
select n.name, n.id, n.started, n.seen, n.position,
       (select count(*) from sessions s where s.node = n.id) as sessions
from nodes n;

create or replace function allow_read(role regrole) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    execute format('grant usage on schema %I to %s', current_schema(), role);
    execute format('grant select on view_nodes, view_rooms, view_outbox to %s', role);
    execute format('grant execute on function outbox_waiting to %s', role);
end
$$;
