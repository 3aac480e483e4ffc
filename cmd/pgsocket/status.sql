-- The log, the outbox and the sessions, as one row. Times are in microseconds: the text form of an interval depends on
-- the IntervalStyle of the connection.
select m.schema_version,
       m.low,
       coalesce(h.id * 4096 + h.packets - 1, m.low),
       coalesce(h.id, m.low / 4096),
       (extract(epoch from clock_timestamp() - h.at) * 1000000)::bigint,
       (select sum(pg_total_relation_size(t.relid))::bigint from pg_partition_tree('/*schema.*/log') t),
       (select count(*) from /*schema.*/sessions s where s.node is not null),
       (select count(*) from /*schema.*/sessions s where s.node is null and s.expires_at > clock_timestamp()),
       (select count(*) from /*schema.*/sessions s where s.node is null and s.expires_at <= clock_timestamp()),
       o.waiting,
       (extract(epoch from clock_timestamp() - o.oldest) * 1000000)::bigint
from /*schema.*/meta m
cross join /*schema.*/view_outbox o
left join lateral (
    select l.id, l.packets, l.at from /*schema.*/log l order by l.id desc limit 1
) h on true
