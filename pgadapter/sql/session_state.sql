-- The owners of sessions. Locked in the order of pid_hash, as in all statements.
select s.pid_hash, s.epoch, coalesce(s.node, 0)
from /*schema.*/sessions s
where s.pid_hash = any($1::text[])
order by s.pid_hash
for update
