-- Sessions of node $1 that are over.
-- Not node = $1: the rows are to be found by pid_hash, never among all that the node has.
delete from /*schema.*/sessions s
using unnest($2::text[], $3::bigint[]) u (pid_hash, epoch)
where s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
