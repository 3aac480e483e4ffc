-- Batches after id $1 up to id $2, at most $3 of them, and none after $5 bytes are
-- reached; with the number of the log, its low position and the batch $1 in the same
-- snapshot; and, if $4 is true, whether the outbox has events to relay. Returns one row
-- with a null batch if there is none.
select m.log_number, m.low, (select case when $4 then /*schema.*/outbox_due() else false end),
       c.origin, c.seq, l.id, l.origin, l.seq, l.packets, l.frame, l.names
from /*schema.*/meta m
left join lateral (
    select b.origin, b.seq from /*schema.*/log b where b.id = $1
) c on true
left join lateral (
    select b.id, b.origin, b.seq, b.packets, b.frame, b.names
    from (
        select b.id, b.origin, b.seq, b.packets, b.frame, b.names,
               sum(octet_length(b.frame)) over (order by b.id) - octet_length(b.frame) as before
        from /*schema.*/log b
        where b.id > $1 and b.id <= $2
        order by b.id
        limit $3
    ) b
    where b.before < $5
) l on true
order by l.id
