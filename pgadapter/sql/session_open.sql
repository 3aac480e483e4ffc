-- Inserts sessions of node $1. An existing session was written by an earlier attempt of
-- this node whose answer was lost; if it has changed owner since, the result does not
-- contain it. For a session that begins in the past, no checkpoint is known of what was
-- addressed to it up to covered.
insert into /*schema.*/sessions as s
    (pid_hash, epoch, identity, sid, namespace, window_ms, opened, initial_offset, seen, node, covered, last, known, checkpointed)
select u.pid_hash, u.epoch, u.identity, u.sid, u.namespace, u.window_ms, u.opened, u.initial_offset, nullif(u.seen, '')::bigint[], $1, u.covered, '', u.opened >= u.covered, false
from unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[])
    u (pid_hash, epoch, sid, namespace, window_ms, opened, covered, initial_offset, seen, identity)
on conflict (pid_hash) do update set node = excluded.node, expires_at = null where s.epoch = excluded.epoch
returning s.pid_hash, s.epoch, s.node
