-- A node ends its life, or is found dead.
select /*schema.*/end_node($1, $2)
