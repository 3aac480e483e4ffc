-- Copies what was emitted from SQL and is committed into the log.
select /*schema.*/relay_outbox($1, $2)
