-- Batches up to id $1, the newest first, at most $2 of them, and none after $3 bytes are
-- reached; with the number of the log and its low position in the same snapshot. Returns one
-- row with a null batch if there is none.
select m.log_number, m.low, l.id, l.origin, l.seq, l.packets, l.frame, l.at
from /*schema.*/meta m
left join lateral (
    select b.id, b.origin, b.seq, b.packets, b.frame, b.at
    from (
        select b.id, b.origin, b.seq, b.packets, b.frame, b.at,
               sum(octet_length(b.frame)) over (order by b.id desc) - octet_length(b.frame) as before
        from /*schema.*/log b
        where b.id <= $1
        order by b.id desc
        limit $2
    ) b
    where b.before < $3
) l on true
order by l.id desc
