-- Data removed from sessions of node $1.
-- Not node = $1: the rows are to be found by pid_hash, never among all that the node has.
delete from /*schema.*/session_data d
using unnest($2::text[], $3::bigint[], $4::text[]) u (pid_hash, epoch, key)
join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
where d.pid_hash = u.pid_hash and d.key = u.key
