-- Deletes data of sessions of node $1.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
delete from /*schema.*/session_data d
using unnest($2::text[], $3::bigint[], $4::text[]) u (pid_hash, epoch, key)
join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
where d.pid_hash = u.pid_hash and d.key = u.key
