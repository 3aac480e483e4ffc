-- What has to be so on every connection.
select current_setting('default_transaction_isolation'),
       current_setting('server_encoding'),
       current_setting('transaction_read_only'),
       pg_is_in_recovery()
