-- Whether the current role sees the sessions of all roles.
select pg_has_role(current_user, 'pg_read_all_stats', 'usage')
