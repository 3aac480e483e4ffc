-- The version of the schema $1 as its structure has it, null without tables of ours; and whether another tool has
-- left a mark there that a migration broke off.
select (
    select case when pg_get_expr(d.adbin, d.adrelid) ~ '^[0-9]{1,6}$' then pg_get_expr(d.adbin, d.adrelid)::int end
    from pg_catalog.pg_attribute a
    join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    join pg_catalog.pg_attribute number on number.attrelid = a.attrelid and number.attname = 'log_number'
    join pg_catalog.pg_class c on c.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = 'meta' and c.relkind = 'r' and a.attname = 'schema_version'
), coalesce((
    select pg_catalog.has_table_privilege(c.oid, 'select')
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2 and c.relkind = 'r'
      and pg_catalog.has_schema_privilege(n.oid, 'usage')
), false)
