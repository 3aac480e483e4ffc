-- The timeouts of the current role that are not off, in milliseconds.
select s.name, s.setting::bigint
from pg_settings s
where s.name in ('idle_session_timeout', 'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
  and s.setting <> '0'
order by s.name
