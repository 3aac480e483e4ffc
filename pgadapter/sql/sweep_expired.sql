-- Ends sessions whose clients stayed away. A session that is being resumed is
-- skipped.
with over as (
    select s.pid
    from /*schema.*/sessions s
    where s.expires_at <= now()
    order by s.expires_at
    limit 1000
    for update skip locked
), gone as (
    delete from /*schema.*/sessions s using over where s.pid = over.pid
    returning s.pid, s.epoch, s.sid, s.namespace, s.window_ms, s.opened, s.held
)
select g.pid, g.epoch, g.sid, g.namespace, g.window_ms, g.opened, g.held,
       (select coalesce(json_agg(json_build_array(r.room, r.joined_at, r.left_at)), '[]')
        from /*schema.*/session_rooms r where r.pid = g.pid)::text,
       (select coalesce(json_object_agg(d.key, d.value), '{}')
        from /*schema.*/session_data d where d.pid = g.pid)::text
from gone g
