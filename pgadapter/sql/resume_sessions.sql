-- The sessions of resume requests, with their checkpoints. Locked in the order of
-- pid_hash, until the requests are decided.
select s.pid_hash, s.epoch, s.identity, s.sid, s.namespace, s.window_ms, s.opened, s.initial_offset, s.seen,
       s.last, s.known, case when s.checkpointed then greatest(s.covered, n.checkpoint) else s.covered end,
       s.last_before, coalesce(s.covered_before, 0), s.last_proven, coalesce(s.covered_proven, 0),
       coalesce(s.node, 0), coalesce(s.expires_at <= clock_timestamp(), false)
from /*schema.*/sessions s
left join /*schema.*/nodes n on n.id = s.node
where s.pid_hash = any($1::text[])
order by s.pid_hash
for update of s
