-- Makes this transaction use indexes only. Postgres keeps plans, also those of foreign
-- key checks, until the tables are analyzed again, and plans for tables that were small
-- would use sequential scans. meta has no index to use, so its plan gets a cost at which
-- it would be compiled: hence no jit.
--
-- Its locks are not held between round trips for a node that was frozen or is cut off.
select set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout', '10s', true)
