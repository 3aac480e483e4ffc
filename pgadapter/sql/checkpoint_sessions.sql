-- Stores the progress of the sessions of node $1 at its position $2. The previous
-- checkpoint is kept once if it no longer holds: it was true up to its own position.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
with progress as materialized (
    select s.pid_hash, u.known, u.last,
           s.known and not (u.known and u.last = s.last) as over,
           case when s.checkpointed then greatest(s.covered, n.checkpoint) else s.covered end as covered
    from unnest($3::text[], $4::bigint[], $5::boolean[], $6::text[]) u (pid_hash, epoch, known, last)
    join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
    join /*schema.*/nodes n on n.id = $1
    order by s.pid_hash
    for update of s
)
update /*schema.*/sessions s
set last_before    = case when u.over then s.last else s.last_before end,
    covered_before = case when u.over then u.covered else s.covered_before end,
    known = u.known, last = u.last, covered = $2, checkpointed = true
from progress u
where s.pid_hash = u.pid_hash
