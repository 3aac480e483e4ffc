-- The nodes that have a server. Times are in microseconds.
select n.name,
       coalesce(n.version, ''),
       (extract(epoch from clock_timestamp() - n.seen) * 1000000)::bigint,
       n.lease_ms * 1000,
       n.retention_ms * 1000
from /*schema.*/nodes n
where n.server is not null
order by n.name, n.started
