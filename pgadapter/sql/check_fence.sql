-- Fails if the row of the node is missing, or the batch that it delivered last, to which
-- its positions refer. Locks the row until the end of the transaction.
select /*schema.*/check_fence($1, $2, $3, $4)
