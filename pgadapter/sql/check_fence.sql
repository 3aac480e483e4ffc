-- Fails if the node's row is missing, or the batch that it read last, which its
-- positions refer to. Keeps the row to the end of the transaction.
select /*schema.*/check_fence($1, $2, $3, $4)
