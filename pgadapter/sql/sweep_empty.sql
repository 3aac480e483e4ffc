-- Empties the next partition of the log if it is due, by the longest retention of
-- all nodes.
select /*schema.*/empty_slot(greatest($1, (select max(n.retention_ms) from /*schema.*/nodes n)) * interval '1 millisecond')
