-- The time since the log changed its partition, in microseconds, and the size of the log.
select (extract(epoch from clock_timestamp() - m.slot_started) * 1000000)::bigint,
       (select sum(pg_total_relation_size(t.relid))::bigint from pg_partition_tree('/*schema.*/log') t)
from /*schema.*/meta m
