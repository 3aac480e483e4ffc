-- Ends memberships of sessions of node $1.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
delete from /*schema.*/presence p
using unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) u (pid_hash, epoch, event, room)
join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
where p.pid_hash = u.pid_hash and p.event = u.event and p.room = u.room
