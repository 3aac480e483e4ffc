-- Deletes the parked sessions beyond $1, those that would expire first. Skips sessions that
-- are locked by a resume request. Counts them only if the table is large enough to have
-- so many: a row takes more than 100 bytes.
with over as (
    select s.pid_hash
    from /*schema.*/sessions s
    where s.expires_at is not null
    order by s.expires_at
    limit (select case when pg_relation_size('/*schema.*/sessions'::regclass) < $1::bigint * 100 then 0
                       else least(greatest((select count(*) from /*schema.*/sessions p where p.expires_at is not null) - $1::bigint, 0), 1000)
                  end)
    for update skip locked
), gone as (
    delete from /*schema.*/sessions s using over where s.pid_hash = over.pid_hash
    returning s.pid_hash, s.epoch, s.sid, s.namespace, s.window_ms, s.opened, s.initial_offset
)
select g.pid_hash, g.epoch, g.sid, g.namespace, g.window_ms, g.opened, g.initial_offset,
       (select coalesce(json_agg(json_build_array(r.room, r.joined_at, r.left_at)), '[]')
        from /*schema.*/session_rooms r where r.pid_hash = g.pid_hash)::text,
       (select coalesce(json_object_agg(d.key, d.value), '{}')
        from /*schema.*/session_data d where d.pid_hash = g.pid_hash)::text
from gone g
