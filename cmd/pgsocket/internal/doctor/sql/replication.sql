-- What a crash or a failover may lose. pg_stat_replication has a row for each WAL sender. A standby replays what it receives.
-- Others read WAL as well: a logical subscriber has a logical slot, a base backup has the state backup, and pg_receivewal and
-- the second connection of pg_basebackup replay nothing. Without pg_read_all_stats the state of other roles' senders is null.
with senders as (
    select r.state, r.replay_lsn
    from pg_stat_replication r
    where not exists (select from pg_replication_slots s where s.active_pid = r.pid and s.slot_type = 'logical')
)
select current_setting('fsync'),
       current_setting('full_page_writes'),
       current_setting('synchronous_commit'),
       current_setting('synchronous_standby_names'),
       (select count(*) from senders where state <> 'backup' and replay_lsn is not null),
       (select count(*) from senders where state is null),
       array(select s.slot_name::text || coalesce(' (' || pg_size_pretty(pg_wal_lsn_diff(case when pg_is_in_recovery() then null else pg_current_wal_lsn() end, s.restart_lsn)) || ' of WAL)', '')
             from pg_replication_slots s where not s.active order by s.slot_name)
