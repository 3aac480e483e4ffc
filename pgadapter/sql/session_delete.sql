-- Deletes sessions of node $1.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
delete from /*schema.*/sessions s
using unnest($2::text[], $3::bigint[]) u (pid_hash, epoch)
where s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
