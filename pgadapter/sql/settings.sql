-- The settings that every connection must have.
select current_setting('default_transaction_isolation'),
       current_setting('server_encoding'),
       current_setting('transaction_read_only'),
       pg_is_in_recovery()
