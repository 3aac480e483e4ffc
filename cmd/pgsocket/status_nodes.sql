-- The nodes, each with the sessions that it holds. Run with the schema as
-- search_path. For how long they are up and were not seen is in microseconds, see status.sql.
select n.name,
       n.position / 4096,
       (extract(epoch from clock_timestamp() - n.started) * 1000000)::bigint,
       (extract(epoch from clock_timestamp() - n.seen) * 1000000)::bigint,
       (select count(*) from sessions s where s.node = n.id)
from nodes n
order by n.name, n.started
