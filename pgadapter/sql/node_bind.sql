-- Sets the server of the node, which receives what comes after $3.
update /*schema.*/nodes set server = $2, bound = $3 where id = $1 and not ended
