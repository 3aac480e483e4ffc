drop function switch_slot(interval);
drop function empty_slot(interval);
drop function append(bigint, bigint, int, bytea, boolean, boolean, bigint, bytea);
drop function notification(bytea, bigint, bigint, bigint, bytea);
drop table log;
drop sequence log_id_seq;
drop function advance_log_sequence, set_sequence, meta_lost;
drop table append_lock;
drop table meta;
