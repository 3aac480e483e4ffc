-- The nodes, each with the number of sessions that it owns. Views and times are as in status.sql.
select n.name,
       n.id::text,
       coalesce(n.server, ''),
       coalesce(n.host, ''),
       coalesce(n.pid, 0),
       coalesce(n.version, ''),
       n.position / 4096,
       (extract(epoch from clock_timestamp() - n.started) * 1000000)::bigint,
       (extract(epoch from clock_timestamp() - n.seen) * 1000000)::bigint,
       (extract(epoch from n.lease) * 1000000)::bigint,
       n.sessions
from /*schema.*/view_nodes n
order by n.name, n.started
