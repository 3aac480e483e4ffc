-- The row of a node, if it still was last seen then.
select id from /*schema.*/nodes where id = $1 and seen::text = $2 for update
