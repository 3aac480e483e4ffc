-- The nodes with a server, server $1 first. Times are in microseconds: the text form of a
-- timestamp depends on the DateStyle of the connection.
select n.server, n.name, (extract(epoch from n.started) * 1000000)::bigint, (extract(epoch from n.seen) * 1000000)::bigint, n.bound, n.position
from /*schema.*/nodes n
where n.server is not null and not n.ended
order by n.server <> $1, n.started, n.id
