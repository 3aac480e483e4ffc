-- What the current role may not do of what a node does, as pairs of a privilege and the objects that it is missing on.
-- $1 is the schema. The table of migration tools is not for nodes.
with objects as (
    select c.oid, c.relname::text as name, c.relkind, c.relispartition
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname <> 'socketio_migrations'
)
select 'usage', 'schema', array[$1] where not has_schema_privilege($1, 'usage')
union all
select w.privilege, 'table', array_agg(o.name order by o.name)
from objects o
cross join (values ('select'), ('insert'), ('update'), ('delete'), ('truncate')) w (privilege)
where o.relkind in ('r', 'p') and (w.privilege <> 'truncate' or o.relispartition) and not has_table_privilege(o.oid, w.privilege)
group by w.privilege
union all
select 'usage', 'sequence', array_agg(o.name order by o.name)
from objects o
where case when o.relkind = 'S' then not has_sequence_privilege(o.oid, 'usage') end
having count(*) > 0
union all
select 'execute', 'function', array_agg(distinct p.proname::text order by p.proname::text)
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = $1 and not has_function_privilege(p.oid, 'execute')
having count(*) > 0
