-- Stores the answer to a request that the current transaction has claimed.
select /*schema.*/answer_request($1::bytea, $2::bytea, $3::bigint)
