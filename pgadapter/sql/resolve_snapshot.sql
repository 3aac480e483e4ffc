-- The batch of the log at the position of a snapshot token.
select m.log_number, m.low, coalesce(l.origin, 0), coalesce(l.seq, 0), coalesce(l.packets, 0)
from /*schema.*/meta m
left join /*schema.*/log l on l.id = $1
