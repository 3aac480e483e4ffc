-- Emits a packet in the current transaction.
select /*schema.*/emit_packet($1::bytea, nullif($2::text, ''), $3::boolean)
