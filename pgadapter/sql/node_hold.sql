-- The row of the node stays as long as this transaction: whoever parks the
-- sessions of a dead node locks it for update first.
select id from /*schema.*/nodes where id = $1 for key share
