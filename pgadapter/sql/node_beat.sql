-- The node is alive; and when the others were.
with beat as (
    update /*schema.*/nodes set seen = clock_timestamp(), position = $2 where id = $1 and not ended returning id
)
select exists (select from beat), n.id, n.name, n.seen::text, n.lease_ms, n.frames
from (values (true)) one (row)
left join /*schema.*/nodes n on n.id <> $1
