-- Goes on to the next partition of the outbox if it is time, by the
-- node that wants records to be kept for longest.
select /*schema.*/rotate_outbox(greatest($1, (select max(n.retention_ms) from /*schema.*/nodes n)) * interval '1 millisecond')
