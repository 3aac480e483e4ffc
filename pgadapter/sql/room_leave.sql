-- Rooms that sessions of node $1 left.
update /*schema.*/session_rooms r
set left_at = u.at
from unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[]) u (pid, epoch, room, at)
join /*schema.*/sessions s on s.pid = u.pid and s.epoch = u.epoch and s.node = $1
where r.pid = u.pid and r.room = u.room and r.left_at is null
