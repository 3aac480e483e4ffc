-- Claims a request in the current transaction, or returns the answer that it had: as hexadecimal digits, because the form of a
-- bytea depends on settings of the connection, which is the application's.
select claimed, coalesce(same, false), encode(answer, 'hex') from /*schema.*/claim_request($1::bytea, $2::bytea, $3::bigint, $4::bigint)
