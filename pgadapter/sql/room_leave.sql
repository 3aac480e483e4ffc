-- Ends rooms that sessions of node $1 left.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
update /*schema.*/session_rooms r
set left_at = u.at
from unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[]) u (pid_hash, epoch, room, at)
join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
where r.pid_hash = u.pid_hash and r.room = u.room and r.left_at is null
