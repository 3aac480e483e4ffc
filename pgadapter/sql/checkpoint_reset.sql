-- Nothing is said any more of the sessions that node $1 is recorded to hold, but what their rows say themselves: Postgres may
-- have lost what it had acknowledged, for example that one of them was parked.
with held as materialized (
    select s.pid_hash from /*schema.*/sessions s where s.node = $1 and s.checkpointed order by s.pid_hash for update
)
update /*schema.*/sessions s set checkpointed = false from held where s.pid_hash = held.pid_hash
