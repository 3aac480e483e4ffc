-- The plans made in this transaction find rows by their keys. Postgres keeps plans,
-- also those of its foreign keys' checks, until the tables are analyzed again, and
-- of tables that were small would have them read from end to end. A table of one row
-- has no key to be found by, and makes a plan so dear that it would be compiled.
--
-- The locks that it holds between two round trips are not held for a node that was
-- frozen, or is cut off.
select set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout', '10s', true)
