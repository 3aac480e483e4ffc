-- Sessions of node $1 that are over.
delete from /*schema.*/sessions s
using unnest($2::text[], $3::bigint[]) u (pid, epoch)
where s.pid = u.pid and s.epoch = u.epoch and s.node = $1
