-- The nodes, each with the sessions that it holds. Run with the schema as
-- search_path.
select n.name,
       n.position / 4096,
       clock_timestamp() - n.started,
       clock_timestamp() - n.seen,
       (select count(*) from sessions s where s.node = n.id)
from nodes n
order by n.name, n.started
