-- What was emitted by transactions that a snapshot sees, and is in the log after
-- batch $1 all the same.
select first, last from /*schema.*/seen_after($1, $2::text::pg_snapshot, $3)
