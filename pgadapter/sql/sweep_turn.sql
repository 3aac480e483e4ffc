-- Lock 3 of the schema: one node at a time counts the sessions that are parked, before
-- any lock on one of them.
select pg_advisory_xact_lock(1886613101, /*schema.*/lock_key())
