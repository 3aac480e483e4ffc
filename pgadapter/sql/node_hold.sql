-- Fails if the node's row is missing, and keeps it to the end of the transaction.
select /*schema.*/hold_node($1)
