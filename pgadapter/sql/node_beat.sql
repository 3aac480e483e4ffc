-- The node is alive; and when the others were, in a form that does not depend on the TimeZone
-- and the DateStyle of the connection: node_end compares it.
with beat as (
    update /*schema.*/nodes set seen = clock_timestamp(), position = $2 where id = $1 and not ended returning id
)
select exists (select from beat), n.id, n.name, extract(epoch from n.seen)::text, n.lease_ms, n.frames
from (values (true)) one (row)
left join /*schema.*/nodes n on n.id <> $1
