-- The oldest transaction of another session that is open: its age in microseconds, process, program, role and state.
-- Without the right to see the sessions of other roles, only those of the current role are found.
select (extract(epoch from clock_timestamp() - a.xact_start) * 1000000)::bigint, a.pid, a.application_name, coalesce(a.usename::text, ''), coalesce(a.state, '')
from pg_stat_activity a
where a.xact_start is not null and a.pid <> pg_backend_pid() and a.backend_type in ('client backend', 'walsender') and a.datname = current_database()
order by a.xact_start
limit 1
