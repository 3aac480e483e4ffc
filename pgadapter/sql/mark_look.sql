-- Whether the last checkpoint of node $1 is still valid.
select exists (select from /*schema.*/node_marks where id = $1)
