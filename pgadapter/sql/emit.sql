-- Emits in the transaction that this is part of.
select /*schema.*/emit_packet($1::bytea, nullif($2::text, ''), $3::boolean)
