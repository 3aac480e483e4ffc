-- Sessions of node $1 whose connection is gone. Those that are merely released
-- keep what is recorded of how far their client came.
update /*schema.*/sessions s
set known      = u.released and s.known or not u.released,
    last       = case when u.released then s.last else u.last end,
    covered    = case when u.released then s.covered else u.covered end,
    settled    = false,
    node       = null,
    expires_at = clock_timestamp() + s.window_ms * interval '1 millisecond'
from unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::boolean[]) u (pid, epoch, covered, last, released)
where s.pid = u.pid and s.epoch = u.epoch and s.node = $1
