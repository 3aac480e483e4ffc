-- How far the sessions of node $1 had come at its position $2.
with standing as materialized (
    select s.pid, u.known, u.last
    from unnest($3::text[], $4::bigint[], $5::boolean[], $6::text[]) u (pid, epoch, known, last)
    join /*schema.*/sessions s on s.pid = u.pid and s.epoch = u.epoch and s.node = $1
    order by s.pid
    for update of s
)
update /*schema.*/sessions s
set known = u.known, last = u.last, covered = $2, settled = true
from standing u
where s.pid = u.pid
