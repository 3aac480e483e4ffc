-- The current role and database; the owner of the schema $1, null if there is none, and whether the current role has
-- the owner's rights.
select current_user::text,
       pg_catalog.current_database()::text,
       (select pg_catalog.pg_get_userbyid(n.nspowner)::text from pg_catalog.pg_namespace n where n.nspname = $1),
       coalesce((select pg_catalog.pg_has_role(n.nspowner, 'usage') from pg_catalog.pg_namespace n where n.nspname = $1), false)
