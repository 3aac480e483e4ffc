-- The log and the sessions, as one row. Run with the schema as search_path. The age is in microseconds: the text form of
-- an interval depends on the IntervalStyle of the connection.
select m.schema_version,
       m.low,
       coalesce(h.id * 4096 + h.packets - 1, m.low),
       coalesce(h.id, m.low / 4096),
       (extract(epoch from clock_timestamp() - h.at) * 1000000)::bigint,
       (select sum(pg_total_relation_size(t.relid)) from pg_partition_tree('log') t),
       (select count(*) from sessions s where s.node is not null),
       (select count(*) from sessions s where s.node is null and s.expires_at > clock_timestamp()),
       (select count(*) from sessions s where s.node is null and s.expires_at <= clock_timestamp())
from meta m
left join lateral (
    select l.id, l.packets, l.at from log l order by l.id desc limit 1
) h on true
