-- Who holds the sessions. Locked in the order of pid, as everywhere.
select s.pid, s.epoch, coalesce(s.node, 0)
from /*schema.*/sessions s
where s.pid = any($1::text[])
order by s.pid
for update
