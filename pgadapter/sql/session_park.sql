-- Parks sessions of node $1 whose connection is closed. Released sessions keep their
-- recorded checkpoint. The previous checkpoint is kept once if it no longer holds: it was
-- true up to its own position. A connection that ends before the recorded position, as
-- after a late resume request with an older offset, does not replace the checkpoint: its
-- own is kept as the previous one. No position beyond the end of the log is recorded,
-- because Postgres may have lost that end.
-- "is not distinct from" instead of "=": find rows by pid_hash, never by node.
with parked as materialized (
    select s.pid_hash, u.released, u.last, u.served, h.covered,
           s.known and s.last = u.last as same, u.served < h.covered as back
    from unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::boolean[]) u (pid_hash, epoch, served, last, released)
    join /*schema.*/sessions s on s.pid_hash = u.pid_hash and s.epoch = u.epoch and s.node is not distinct from $1
    join /*schema.*/nodes n on n.id = $1
    cross join /*schema.*/meta m
    left join lateral (select l.id * 4096 + l.packets - 1 as position from /*schema.*/log l order by l.id desc limit 1) e on true
    cross join lateral (
        select least(case when s.checkpointed then greatest(s.covered, n.checkpoint) else s.covered end, greatest(e.position, m.low)) as covered
    ) h
    order by s.pid_hash
    for update of s
)
update /*schema.*/sessions s
set last_before    = case when p.released or p.same then s.last_before when p.back then p.last when s.known then s.last else s.last_before end,
    covered_before = case when p.released or p.same then s.covered_before when p.back then p.served when s.known then p.covered else s.covered_before end,
    known      = s.known or not p.released and not p.back,
    last       = case when p.released or p.back then s.last else p.last end,
    covered    = case when p.released then p.covered else greatest(p.covered, p.served) end,
    checkpointed    = false,
    node       = null,
    expires_at = clock_timestamp() + s.window_ms * interval '1 millisecond'
from parked p
where s.pid_hash = p.pid_hash
