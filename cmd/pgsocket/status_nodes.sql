-- The nodes, each with the number of sessions that it owns. Run with the schema as
-- search_path. The times since start and since last seen are in microseconds, see status.sql.
select n.name,
       n.position / 4096,
       (extract(epoch from clock_timestamp() - n.started) * 1000000)::bigint,
       (extract(epoch from clock_timestamp() - n.seen) * 1000000)::bigint,
       (select count(*) from sessions s where s.node = n.id)
from nodes n
order by n.name, n.started
