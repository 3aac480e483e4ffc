-- The events that SQL has committed and that are not in the log yet; the age of the oldest is in microseconds.
select o.waiting, coalesce((extract(epoch from clock_timestamp() - o.oldest) * 1000000)::bigint, 0), o.bytes from /*schema.*/view_outbox o
