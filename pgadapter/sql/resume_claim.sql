-- Sessions that go to node $1. They are not settled: a checkpoint of the node
-- says nothing of them before it has attached them.
update /*schema.*/sessions s
set epoch = s.epoch + 1, node = $1, expires_at = null, covered = u.covered, settled = false
from unnest($2::text[], $3::bigint[]) u (pid, covered)
where s.pid = u.pid
