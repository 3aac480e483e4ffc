-- Copies what was emitted from SQL and is committed into the log.
select /*schema.*/adopt($1, $2)
