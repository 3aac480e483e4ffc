-- The connections that a role without privileges may open, those that are open, and the limit and the number of the current role.
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(nullif(current_setting('reserved_connections', true), '')::int, 0),
       (select count(*) from pg_stat_activity a where a.backend_type = 'client backend')::int,
       (select r.rolconnlimit from pg_roles r where r.rolname = current_user),
       (select count(*) from pg_stat_activity a where a.usename = current_user)::int
