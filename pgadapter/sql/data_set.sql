-- Data of sessions of node $1.
-- Not node = $1: the rows are to be found by pid, never among all that the node has.
insert into /*schema.*/session_data (pid, key, value)
select u.pid, u.key, u.value::json
from unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) u (pid, epoch, key, value)
join /*schema.*/sessions s on s.pid = u.pid and s.epoch = u.epoch and s.node is not distinct from $1
on conflict (pid, key) do update set value = excluded.value
