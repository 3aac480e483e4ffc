-- Parks what a node held, with what its checkpoints prove. The epoch rises, so
-- whatever that node still writes is refused.
with held as materialized (
    select s.pid from /*schema.*/sessions s where s.node = $1 order by s.pid for update
)
update /*schema.*/sessions s
set covered    = case when s.settled then greatest(s.covered, n.checkpoint) else s.covered end,
    settled    = false,
    node       = null,
    epoch      = s.epoch + 1,
    expires_at = clock_timestamp() + s.window_ms * interval '1 millisecond'
from held, /*schema.*/nodes n
where s.pid = held.pid and n.id = $1
