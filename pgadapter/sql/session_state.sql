-- Who holds the sessions. Locked in the order of pid_hash, as everywhere.
select s.pid_hash, s.epoch, coalesce(s.node, 0)
from /*schema.*/sessions s
where s.pid_hash = any($1::text[])
order by s.pid_hash
for update
