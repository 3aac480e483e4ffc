-- The announced state of a topic, in one snapshot: its version in the first row, then the
-- members, as they were before the first change that is not announced yet.
with pending as materialized (
    select distinct on (c.sid) c.sid, c.before
    from /*schema.*/presence_changes c
    where c.namespace = $1 and c.event = $2 and c.room = $3
    order by c.sid, c.id
)
select coalesce((select t.version from /*schema.*/presence_topics t where t.namespace = $1 and t.event = $2 and t.room = $3), m.presence_floor), '' as sid, null
from /*schema.*/meta m
union all
select null, p.sid, p.state::text
from /*schema.*/presence p
where p.namespace = $1 and p.event = $2 and p.room = $3 and not exists (select from pending c where c.sid = p.sid)
union all
select null, c.sid, c.before::text from pending c where c.before is not null
order by 1 nulls last, 2
