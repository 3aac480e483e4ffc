-- Appends a batch in a transaction of its own. Returns its id and, if nobody else is
-- told of it, the name of the batch before it.
select batch, coalesce(prior_origin, 0), coalesce(prior_seq, 0)
from /*schema.*/append($1, $2, $3, $4, $5, $6)
