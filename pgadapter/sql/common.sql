-- The newest of the batches that both this node and the log have.
select coalesce(max(u.id), 0)
from unnest($1::bigint[], $2::bigint[], $3::bigint[]) u (id, origin, seq)
join /*schema.*/log l on l.id = u.id and l.origin = u.origin and l.seq = u.seq
