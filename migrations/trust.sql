-- Of the schema $1: its owner; whether the owner's rights are those of the current role, or of a
-- role that could take everything anyway; whether they are so because the current role is a superuser,
-- who has those of everybody; whether any role at all may create objects in it; whether the current role may.
select pg_catalog.pg_get_userbyid(n.nspowner),
       pg_catalog.pg_has_role(n.nspowner, 'usage') or o.rolsuper or o.rolname = 'pg_database_owner'
           or n.nspowner = (select d.datdba from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()),
       me.rolsuper and not o.rolsuper and o.oid <> me.oid and o.rolname <> 'pg_database_owner'
           and n.nspowner <> (select d.datdba from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()),
       exists (select from pg_catalog.aclexplode(n.nspacl) a where a.grantee = 0 and a.privilege_type = 'CREATE'),
       pg_catalog.has_schema_privilege(n.oid, 'create')
from pg_catalog.pg_namespace n
join pg_catalog.pg_roles o on o.oid = n.nspowner
join pg_catalog.pg_roles me on me.rolname = current_user
where n.nspname = $1
