-- The oldest prepared transaction of the database: its name, and its age in microseconds.
select p.gid, (extract(epoch from clock_timestamp() - p.prepared) * 1000000)::bigint
from pg_prepared_xacts p
where p.database = current_database()
order by p.prepared
limit 1
