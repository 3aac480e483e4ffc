-- Switches to the next partition of the outbox if it is due, by the longest retention of
-- all nodes.
select /*schema.*/rotate_outbox(greatest($1, (select max(n.retention_ms) from /*schema.*/nodes n)) * interval '1 millisecond')
