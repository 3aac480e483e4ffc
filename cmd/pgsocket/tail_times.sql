-- The times of batches, in microseconds since 1970: the text form of a timestamp depends on the DateStyle of the connection.
select l.id, (extract(epoch from l.at) * 1000000)::bigint from /*schema.*/log l where l.id = any($1::bigint[])
