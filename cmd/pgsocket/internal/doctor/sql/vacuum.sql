-- Whether autovacuum is on, and the table of the schema with the most dead rows among those that are vacuumed. $1 is the
-- schema.
select current_setting('autovacuum'), coalesce(t.relname::text, ''), coalesce(t.n_dead_tup, 0), coalesce(t.n_live_tup, 0)
from (values (true)) one (row)
left join lateral (
    select s.relname, s.n_dead_tup, s.n_live_tup from pg_stat_all_tables s where s.schemaname = $1 order by s.n_dead_tup desc limit 1
) t on true
