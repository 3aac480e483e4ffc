-- The row of a node, if it still was last seen then ('' for whenever). Locked
-- before its sessions.
select id from /*schema.*/nodes where id = $1 and ($2 = '' or seen::text = $2) for update
