-- The log, the outbox and the sessions, as one row. It reads views only, which a role with allow_read may. Times are in
-- microseconds: the text form of an interval depends on the IntervalStyle of the connection.
select l.schema_version,
       l.kept_after,
       l.position,
       l.position / 4096,
       (extract(epoch from clock_timestamp() - l.at) * 1000000)::bigint,
       l.bytes,
       s.live,
       s.parked,
       s.expired,
       o.waiting,
       (extract(epoch from clock_timestamp() - o.oldest) * 1000000)::bigint
from /*schema.*/view_log l
cross join /*schema.*/view_outbox o
cross join (
    select count(*) filter (where not v.parked) as live,
           count(*) filter (where v.parked and v.expires_at > clock_timestamp()) as parked,
           count(*) filter (where v.parked and v.expires_at <= clock_timestamp()) as expired
    from /*schema.*/view_sessions v
) s
