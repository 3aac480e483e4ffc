-- Adds rooms that sessions of node $1 joined. Joining again at the position of an earlier
-- interval continues that interval, which no event has addressed yet. A null left_at means
-- that the session is still in the room; $6 has -1 for it, because array_nulls may be off.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
insert into /*schema.*/session_rooms (pid_hash, room, joined_at, left_at)
select distinct on (u.pid_hash, u.room, u.joined_at) u.pid_hash, u.room, u.joined_at, nullif(u.left_at, -1)
from unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[]) u (pid_hash, epoch, room, joined_at, left_at)
join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
on conflict (pid_hash, room, joined_at) do update set left_at = excluded.left_at
