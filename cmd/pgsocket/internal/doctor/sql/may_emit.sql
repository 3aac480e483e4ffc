-- Whether the current role may emit from SQL, as allow_emit(role) allows it. $1 is the schema.
select has_schema_privilege($1, 'usage')
   and coalesce((
       select bool_and(has_function_privilege(p.oid, 'execute'))
       from pg_proc p
       join pg_namespace n on n.oid = p.pronamespace
       where n.nspname = $1 and p.proname in ('emit_event', 'emit', 'emit_to', 'emit_all', 'emit_many', 'emit_packet', 'snapshot_token')
   ), false)
