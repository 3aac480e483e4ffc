-- One node sweeps at a time, until its transaction ends.
select pg_try_advisory_xact_lock(1886613100, /*schema.*/lock_key())
