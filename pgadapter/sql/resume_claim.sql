-- Sessions that go to node $1. They are not settled: a checkpoint of the node
-- says nothing of them before it has attached them. What the claim has proven is kept
-- until the next one: the client may be cut off before it has processed anything.
update /*schema.*/sessions s
set epoch = s.epoch + 1, node = $1, expires_at = null, covered = u.covered, settled = false,
    last_proven = u.last, covered_proven = u.start
from unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[]) u (pid, covered, last, start)
where s.pid = u.pid
