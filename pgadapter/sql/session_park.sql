-- Sessions of node $1 whose connection is gone. Those that are merely released
-- keep what is recorded of how far their client came. What was known so far, and
-- is so no longer, is kept once: up to the last checkpoint it was true.
-- Not node = $1: the rows are to be found by pid_hash, never among all that the node has.
update /*schema.*/sessions s
set last_before    = case when not u.released and s.known and s.last <> u.last then s.last else s.last_before end,
    covered_before = case when not u.released and s.known and s.last <> u.last
                          then case when s.settled then greatest(s.covered, n.checkpoint) else s.covered end
                          else s.covered_before end,
    known      = u.released and s.known or not u.released,
    last       = case when u.released then s.last else u.last end,
    covered    = case when u.released then s.covered else u.covered end,
    settled    = false,
    node       = null,
    expires_at = clock_timestamp() + s.window_ms * interval '1 millisecond'
from unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::boolean[]) u (pid_hash, epoch, covered, last, released),
     /*schema.*/nodes n
where s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1 and n.id = $1
