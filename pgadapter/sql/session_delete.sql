-- Sessions of node $1 that are over.
-- Not node = $1: the rows are to be found by pid, never among all that the node has.
delete from /*schema.*/sessions s
using unnest($2::text[], $3::bigint[]) u (pid, epoch)
where s.pid = u.pid and s.epoch = u.epoch and s.node is not distinct from $1
