-- Data removed from sessions of node $1.
delete from /*schema.*/session_data d
using unnest($2::text[], $3::bigint[], $4::text[]) u (pid, epoch, key)
join /*schema.*/sessions s on s.pid = u.pid and s.epoch = u.epoch and s.node = $1
where d.pid = u.pid and d.key = u.key
