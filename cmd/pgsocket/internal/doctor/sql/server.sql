-- What every connection of a node depends on.
select current_setting('server_version'),
       current_setting('server_version_num')::int,
       current_setting('server_encoding'),
       pg_is_in_recovery(),
       current_setting('transaction_read_only'),
       current_setting('default_transaction_isolation'),
       current_user::text,
       current_database()::text
