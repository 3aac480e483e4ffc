-- Notifies all nodes to read the log.
select pg_notify($1, 'read')
