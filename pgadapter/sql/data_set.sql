-- Sets data of sessions of node $1.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
insert into /*schema.*/session_data (pid_hash, key, value)
select u.pid_hash, u.key, u.value::json
from unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) u (pid_hash, epoch, key, value)
join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
on conflict (pid_hash, key) do update set value = excluded.value
