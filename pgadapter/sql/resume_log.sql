-- The ends of the log and the batches with the given ids, in one snapshot. The result
-- always contains the last batch of the log.
select m.log_number, m.low, h.id is not null and l.id = h.id, l.id, l.origin, l.seq, l.packets
from /*schema.*/meta m
left join lateral (select b.id from /*schema.*/log b order by b.id desc limit 1) h on true
left join /*schema.*/log l on l.id = any($1::bigint[]) or l.id = h.id
