-- What a crash or a failover may lose.
select current_setting('fsync'),
       current_setting('full_page_writes'),
       current_setting('synchronous_commit'),
       current_setting('synchronous_standby_names'),
       (select count(*) from pg_stat_replication),
       array(select s.slot_name::text || coalesce(' (' || pg_size_pretty(pg_wal_lsn_diff(case when pg_is_in_recovery() then null else pg_current_wal_lsn() end, s.restart_lsn)) || ' of WAL)', '')
             from pg_replication_slots s where not s.active order by s.slot_name)
