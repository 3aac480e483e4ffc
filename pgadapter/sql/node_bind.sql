-- The node has a server, which is delivered what comes after $3.
update /*schema.*/nodes set server = $2, bound = $3 where id = $1 and not ended
