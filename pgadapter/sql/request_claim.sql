-- Claims a request in the current transaction, or returns the answer that it had.
select claimed, coalesce(same, false), answer from /*schema.*/claim_request($1::bytea, $2::bytea, $3::bigint, $4::bigint)
