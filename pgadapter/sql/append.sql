-- The order of the log is decided by the function append, under the append lock, see migrations.
-- Appends a batch in a transaction of its own. Returns its id and, if it sent no
-- notification, the batches of the log from $7 up to it.
select batch, ids, origins, seqs, counts, frames, names from /*schema.*/append($1, $2, $3, $4, $5, $6, $7, $8)
