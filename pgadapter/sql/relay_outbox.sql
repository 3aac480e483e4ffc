-- Copies committed events from the outbox to the log.
select /*schema.*/relay_outbox($1, $2)
