-- Ends the effect of the node's checkpoint on all sessions that node $1 owns in the table. Postgres may have
-- lost acknowledged writes, for example that one of the sessions was parked.
with owned as materialized (
    select s.pid_hash from /*schema.*/sessions s where s.node = $1 and s.checkpointed order by s.pid_hash for update
)
update /*schema.*/sessions s set checkpointed = false from owned where s.pid_hash = owned.pid_hash
