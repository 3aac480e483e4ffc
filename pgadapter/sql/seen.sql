-- The ranges of the log after batch $1 with events of transactions that a snapshot
-- sees.
select first, last from /*schema.*/seen_after($1, $2::text::pg_snapshot, $3)
