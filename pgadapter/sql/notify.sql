-- Notifies all nodes of a schema.
select pg_notify($1, $2)
