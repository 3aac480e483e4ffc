-- Appends a batch in a transaction of its own.
select /*schema.*/append($1, $2, $3, $4, $5)
