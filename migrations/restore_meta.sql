-- Puts back the row of meta that was lost. The log gets a new number, so that no offset of
-- before counts any more, and nothing up to the newest id that was used is promised. What SQL has
-- emitted, and no batch of the log records as relayed, is relayed; its snapshot is not in the
-- future of this server.
with last as (
    select greatest(
        coalesce((select max(l.id) from log l), 0),
        (select case when s.is_called then s.last_value else s.last_value - 1 end from log_id_seq s)) as id
), oldest as (
    select least(
        coalesce((select min(o.xid::text::numeric) from outbox o), 'infinity'),
        pg_snapshot_xmin(pg_current_snapshot())::text::numeric) as xid
)
insert into meta (low, relayed, relayed_on)
select last.id * 4096 + 4095, (oldest.xid || ':' || oldest.xid || ':')::pg_snapshot, server_identity()
from last, oldest
where not exists (select from meta)
