-- Makes sessions of node $1 members, or changes their states.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
insert into /*schema.*/presence as p (pid_hash, event, room, namespace, sid, state)
select u.pid_hash, u.event, u.room, s.namespace, s.sid, u.state::json
from unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[]) u (pid_hash, epoch, event, room, state)
join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
on conflict (pid_hash, event, room) do update set state = excluded.state where p.state::text <> excluded.state::text
