-- Goes on to the next partition of the log if it is time, by the
-- node that wants records to be kept for longest.
select /*schema.*/switch_slot(greatest($1, (select max(n.retention_ms) from /*schema.*/nodes n)) * interval '1 millisecond')
