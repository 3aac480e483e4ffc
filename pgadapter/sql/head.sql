-- The state of the log, from which Open and a reader without a cursor start.
select m.schema_version,
       m.works_from,
       m.log_number,
       m.low,
       coalesce(h.id, 0),
       coalesce(h.origin, 0),
       coalesce(h.seq, 0),
       coalesce(h.packets, 0),
       m.notification_key
from /*schema.*/meta m
left join lateral (
    select l.id, l.origin, l.seq, l.packets from /*schema.*/log l order by l.id desc limit 1
) h on true
