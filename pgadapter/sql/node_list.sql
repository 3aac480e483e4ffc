-- The nodes with a server, server $1 first.
select n.server, n.name, n.started, n.seen, n.bound, n.position
from /*schema.*/nodes n
where n.server is not null and not n.ended
order by n.server <> $1, n.started, n.id
