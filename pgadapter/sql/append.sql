-- Appends a batch in a transaction of its own. Returns its id and, if nobody else is
-- told of it, what is in the log from batch $7 up to it.
select batch, ids, origins, seqs, counts, frames from /*schema.*/append($1, $2, $3, $4, $5, $6, $7, $8)
