-- Data removed from sessions of node $1.
-- Not node = $1: the rows are to be found by pid, never among all that the node has.
delete from /*schema.*/session_data d
using unnest($2::text[], $3::bigint[], $4::text[]) u (pid, epoch, key)
join /*schema.*/sessions s on s.pid = u.pid and s.epoch = u.epoch and s.node is not distinct from $1
where d.pid = u.pid and d.key = u.key
