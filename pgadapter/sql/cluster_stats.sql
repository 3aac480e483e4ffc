-- Counts for the whole cluster.
select (select count(*) from /*schema.*/nodes),
       s.live, s.parked, s.expired, m.low, coalesce(h.high, m.low),
       greatest(coalesce(h.id, 0) - m.low / 4096, 0),
       (select sum(pg_total_relation_size(inhrelid))::bigint from pg_inherits
        where inhparent = '/*schema.*/log'::regclass),
       (select waiting from /*schema.*/view_outbox),
       pg_notification_queue_usage()
from /*schema.*/meta m
left join lateral (
    select l.id, l.id * 4096 + l.packets - 1 as high from /*schema.*/log l order by l.id desc limit 1
) h on true
cross join (
    select count(*) filter (where node is not null) as live,
           count(*) filter (where expires_at > clock_timestamp()) as parked,
           count(*) filter (where expires_at <= clock_timestamp()) as expired
    from /*schema.*/sessions
) s
