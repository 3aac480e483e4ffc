alter table meta alter column schema_version set default 1;
update meta set schema_version = 1;
drop table session_data;
drop table session_rooms;
drop table sessions;
drop function check_fence(bigint, bigint, bigint, bigint);
drop table nodes;
