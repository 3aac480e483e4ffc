-- Gives sessions to node $1, for clients with these identities. They are not checkpointed: the checkpoint of
-- the node does not cover them before the node has attached them. What the resume request has proven is
-- kept until the next one: the client may disconnect before it has processed anything.
update /*schema.*/sessions s
set epoch = s.epoch + 1, node = $1, expires_at = null, covered = u.covered, checkpointed = false,
    identity = u.identity, last_proven = u.last, covered_proven = u.start
from unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[]) u (pid_hash, covered, last, start, identity)
where s.pid_hash = u.pid_hash
