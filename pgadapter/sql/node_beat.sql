-- Records a heartbeat, and returns those of the other nodes, in a form that is independent
-- of the TimeZone and DateStyle of the connection, because node_end compares it.
with beat as (
    update /*schema.*/nodes set seen = clock_timestamp(), position = $2 where id = $1 and not ended returning id
)
select exists (select from beat), n.id, n.name, extract(epoch from n.seen)::text, n.lease_ms, n.frames
from (values (true)) one (row)
left join /*schema.*/nodes n on n.id <> $1
